//! Lists the images of a directory, for a playground. Bounded: a directory may have millions of files.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::format::Format;
use crate::key;

/// How many directory entries are read.
const MAX_ENTRIES: usize = 10_000;
/// How many directories a key may have in front of its name.
const MAX_DEPTH: usize = 8;

const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The first `max` keys with the extension of an image, those in the upper directories first. Symbolic links and hidden
/// files are left out. What can't be read is skipped.
pub fn keys(root: &Path, max: usize) -> Vec<String> {
    let mut keys = Vec::new();
    let mut left = MAX_ENTRIES;
    let mut directories = VecDeque::from([String::new()]);
    while let Some(prefix) = directories.pop_front()
        && keys.len() < max
    {
        let Ok((mut files, mut below)) = list(root, &prefix, &mut left) else { continue };
        files.sort_unstable();
        keys.append(&mut files);
        if prefix.matches('/').count() < MAX_DEPTH {
            below.sort_unstable();
            directories.extend(below);
        }
    }
    keys.truncate(max);
    keys
}

/// The images and the directories in one directory, with their paths; those of directories end with a slash.
fn list(root: &Path, prefix: &str, left: &mut usize) -> Result<(Vec<String>, Vec<String>), Errno> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    let directory = open(root, prefix)?;
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        if *left == 0 {
            break;
        }
        *left -= 1;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems don't tell it (readdir(3)).
            FileType::Unknown => {
                let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
                let Ok(stat) = rustix::fs::statat(&directory, name, flags) else { continue };
                FileType::from_raw_mode(stat.st_mode)
            }
            kind => kind,
        };
        let path = format!("{prefix}{name}");
        match kind {
            FileType::Directory => directories.push(path + "/"),
            FileType::RegularFile if is_image(name) && key::is_valid(&path) => files.push(path),
            _ => {}
        }
    }
    Ok((files, directories))
}

/// Opens a directory below the root without following a link that replaced one of its parents.
fn open(root: &Path, path: &str) -> Result<OwnedFd, Errno> {
    let mut at = rustix::fs::openat(CWD, root, LIST, Mode::empty())?;
    for segment in path.split_terminator('/') {
        at = rustix::fs::openat(&at, segment, LIST | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

fn is_image(name: &str) -> bool {
    let format = key::extension(name).and_then(|extension| Format::parse(&extension));
    format.is_some_and(Format::is_read)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::render::origin::testing::TempDirectory;

    #[test]
    fn keys_are_images_inside_the_directory_in_order() {
        let temp = TempDirectory::new();
        let root = temp.path().join("root");
        let outside = temp.path().join("outside");
        for directory in ["root/b/c", "root/.hidden", "outside"] {
            fs::create_dir_all(temp.path().join(directory)).unwrap();
        }
        for file in
            ["z.jpg", "a.JPEG", "b/x.png", "b/c/é +.gif", "n.txt", ".h.png", ".hidden/a.png"]
        {
            fs::write(root.join(file), b"x").unwrap();
        }
        fs::write(outside.join("secret.png"), b"x").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink(outside.join("secret.png"), root.join("link.png")).unwrap();
        symlink("../b", root.join("b/loop")).unwrap();
        assert_eq!(keys(&root, 9), ["a.JPEG", "z.jpg", "b/x.png", "b/c/é +.gif"]);
        assert_eq!(keys(&root, 3), ["a.JPEG", "z.jpg", "b/x.png"]);
        assert_eq!(keys(&temp.path().join("none"), 3), [""; 0]);
        // The root itself may be a link.
        symlink(&root, temp.path().join("current")).unwrap();
        assert_eq!(keys(&temp.path().join("current"), 1), ["a.JPEG"]);
    }

    #[test]
    fn depth_and_entries_are_bounded() {
        let temp = TempDirectory::new();
        let deep: String = (0..MAX_DEPTH + 1).map(|_| "d/").collect();
        fs::create_dir_all(temp.path().join(&deep)).unwrap();
        fs::write(temp.path().join(&deep).join("a.png"), b"x").unwrap();
        fs::write(temp.path().join(&deep[2..]).join("a.png"), b"x").unwrap();
        assert_eq!(keys(temp.path(), 9), [format!("{}a.png", &deep[2..])]);

        let mut left = 2;
        for number in 0..5 {
            fs::write(temp.path().join(format!("{number}.png")), b"x").unwrap();
        }
        let (files, directories) = list(temp.path(), "", &mut left).unwrap();
        assert_eq!((files.len() + directories.len(), left), (2, 0));
    }
}
