//! JPEG XL, by the program of bench/jxl, whose path `$JXL` holds.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use crate::Fallible;

/// The program, which encodes one image after another.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

static PROGRAM: Mutex<Option<Program>> = Mutex::new(None);

/// What the program says of an image.
pub struct Encoded {
    pub bytes: usize,
    /// In milliseconds.
    pub cpu: f64,
    /// The most memory that the encoder had allocated at once, in bytes.
    pub memory: f64,
    pub decoded: Vec<[u8; 3]>,
}

/// Encodes with the effort of a setting such as `effort=3`, at a quality of libjxl; lossless without one.
pub fn encode(
    pixels: &[[u8; 3]],
    (width, height): (usize, usize),
    quality: Option<u32>,
    setting: &str,
) -> Fallible<Encoded> {
    let effort: u32 = setting.strip_prefix("effort=").ok_or("JPEG XL: no effort")?.parse()?;
    let mut program = PROGRAM.lock().map_err(|_| "another encoding panicked")?;
    let program = match &mut *program {
        Some(program) => program,
        none => none.insert(start()?),
    };
    writeln!(program.input, "{width} {height} 3 {effort} {}", quality.map_or(0.0, distance))?;
    program.input.write_all(pixels.as_flattened())?;
    program.input.flush()?;
    let mut line = String::new();
    program.output.read_line(&mut line)?;
    let [bytes, cpu, memory] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(format!("JPEG XL: no answer, {:?}", program.child.try_wait()?).into());
    };
    let (bytes, cpu, memory) = (bytes.parse()?, cpu.parse()?, memory.parse()?);
    let mut decoded = vec![0; pixels.len() * 3];
    program.output.read_exact(&mut decoded)?;
    Ok(Encoded { bytes, cpu, memory, decoded: decoded.as_chunks::<3>().0.to_vec() })
}

/// As `JxlEncoderDistanceFromQuality` does; 0 would be lossless.
fn distance(quality: u32) -> f64 {
    let quality = f64::from(quality);
    if quality >= 30.0 {
        (0.1 + (100.0 - quality) * 0.09).max(0.05)
    } else {
        53.0 / 3000.0 * quality * quality - 23.0 / 20.0 * quality + 25.0
    }
}

fn start() -> Fallible<Program> {
    let path = std::env::var_os("JXL").ok_or("$JXL is not set")?;
    let mut child = Command::new(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let input = child.stdin.take().ok_or("no standard input")?;
    let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
    Ok(Program { child, input, output })
}
