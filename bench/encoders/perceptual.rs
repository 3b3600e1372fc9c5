//! SSIMULACRA2, a perceptual measure, by the program of bench/ssimulacra2, whose path `$SSIMULACRA2` holds.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use crate::Fallible;

/// The program, which compares one pair after another.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

static PROGRAM: Mutex<Option<Program>> = Mutex::new(None);

/// 100 for equal images; NaN without the program, or below 8 × 8 pixels.
pub fn ssimulacra2(
    one: &[[u8; 3]],
    other: &[[u8; 3]],
    (width, height): (usize, usize),
) -> Fallible<f64> {
    let Some(path) = std::env::var_os("SSIMULACRA2") else { return Ok(f64::NAN) };
    if width < 8 || height < 8 {
        return Ok(f64::NAN);
    }
    let mut program = PROGRAM.lock().map_err(|_| "another comparison panicked")?;
    let program = match &mut *program {
        Some(program) => program,
        none => none.insert(start(&path)?),
    };
    writeln!(program.input, "{width} {height}")?;
    program.input.write_all(one.as_flattened())?;
    program.input.write_all(other.as_flattened())?;
    program.input.flush()?;
    let mut line = String::new();
    program.output.read_line(&mut line)?;
    match line.trim_end().parse() {
        Ok(score) => Ok(score),
        Err(_) => Err(format!("SSIMULACRA2: no score, {:?}", program.child.try_wait()?).into()),
    }
}

fn start(path: &std::ffi::OsStr) -> Fallible<Program> {
    let mut child = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take().ok_or("no standard input")?;
    let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
    Ok(Program { child, input, output })
}
