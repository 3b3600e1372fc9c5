//! Fills a cache directory with any number of entries. Prints `entries seconds`.
//!
//! src/cache/mod.rs documents the layout. The template is an entry that the server has written, whose options end in
//! `q=` and a number; the copies have the keys `0`, `1`, … and the qualities 1, 2, ….

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Fallible;

/// Magic, length and checksum of the header.
const FIXED: usize = 8 + 4 + 8;

pub fn run(template: &str, directory: &str, keys: &str, each: &str) -> Fallible<String> {
    let begun = Instant::now();
    let (keys, each): (u64, u64) = (keys.parse()?, each.parse()?);
    let template = fs::read(template)?;
    let length =
        template.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let end = FIXED + length.ok_or("the template is too short")? as usize;
    let mut description: Value = serde_json::from_slice(&template[FIXED..end])?;
    let options = description["options"].as_str().ok_or("no options")?.to_owned();
    let (before, _) = options.rsplit_once("q=").ok_or("the template has no quality")?;
    let handler = description["handler"].as_str().ok_or("no handler")?.to_owned();
    for key in 0..keys {
        let key = key.to_string();
        let source = hexadecimal(&Sha256::digest(format!("{handler}\0{key}"))[..16]);
        let home = Path::new(directory)
            .join("v1")
            .join(&source[..2])
            .join(&source[2..4])
            .join(&source[4..]);
        fs::create_dir_all(&home)?;
        description["key"] = Value::from(key);
        for quality in 1..=each {
            let options = format!("{before}q={quality}");
            let name = hexadecimal(&Sha256::digest(&options)[..16]);
            description["options"] = Value::from(options);
            let text = serde_json::to_vec(&description)?;
            let mut entry = template[..8].to_vec();
            entry.extend_from_slice(&u32::try_from(text.len())?.to_le_bytes());
            entry.extend_from_slice(&Sha256::digest(&text)[..8]);
            entry.extend_from_slice(&text);
            entry.extend_from_slice(&template[end..]);
            fs::write(home.join(name), entry)?;
        }
    }
    Ok(format!("{} {:.1}", keys * each, begun.elapsed().as_secs_f64()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
