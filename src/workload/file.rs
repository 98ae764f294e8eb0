//! A file that holds a whole token at every moment: written beside it, and renamed onto it. Several processes may keep the same one.
//!
//! Who writes an unfinished file has it locked until it is renamed. The kernel takes the lock from a process that ends in whatever way, so
//! that whoever gets it knows that nobody is writing any more.

use crate::ambient;
use std::{
    ffi::OsString,
    fs::{self, DirEntry, File, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Read and written by its owner alone.
const MODE: u32 = 0o600;
/// What the names of unfinished files end with.
const UNFINISHED: &str = ".unfinished";

/// Why the file does not hold the new token. What it held before, it still holds.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// `--out` names no file.
    #[error("--out {}: that is a folder; name a file in it", .0.display())]
    Folder(PathBuf),
    /// Nothing can be written there.
    #[error("--out {}: {} cannot be written to: {source}; does it exist, and may this user write there?", path.display(), folder.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The disk is full, for instance.
    #[error("--out {}: writing failed: {source}; is there space left? The file is as it was", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Where a token is kept.
pub(super) struct TokenFile {
    path: PathBuf,
    folder: PathBuf,
    /// What the names of its unfinished files begin with: a dot, so that `ls` and globs pass them by.
    prefix: OsString,
}

impl TokenFile {
    /// A file of this name. What an earlier process that was killed left unfinished is removed.
    pub(super) fn at(path: &Path) -> Result<Self, FileError> {
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else { return Err(FileError::Folder(path.to_owned())) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let file = Self { path: path.to_owned(), folder: folder.to_owned(), prefix };
        file.sweep();
        Ok(file)
    }

    /// The path, as given.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a token there.
    pub(super) fn replace(&self, token: &str) -> Result<(), FileError> {
        let (unfinished, file) =
            self.create().map_err(|source| FileError::Create { path: self.path.clone(), folder: self.folder.clone(), source })?;
        // Locked until it has its name.
        let written = write(&file, token).and_then(|()| fs::rename(&unfinished, &self.path));
        written.map_err(|source| {
            // It may hold a part of the token, and the space may be what is missing.
            let _ = fs::remove_file(&unfinished);
            FileError::Write { path: self.path.clone(), source }
        })
    }

    /// A new file that nobody else has, locked: two processes that keep one file neither write into each other's nor remove it.
    fn create(&self) -> io::Result<(PathBuf, File)> {
        loop {
            let mut name = self.prefix.clone();
            name.push(format!("{:016x}{UNFINISHED}", u64::from_be_bytes(ambient::random())));
            let path = self.folder.join(name);
            let file = File::options().write(true).create_new(true).mode(MODE).open(&path)?;
            if is_held(&file)? {
                return Ok((path, file));
            }
        }
    }

    fn sweep(&self) {
        let prefix = self.prefix.as_encoded_bytes();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(prefix) && name.as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
                // Left where it is, it does no harm.
                let _ = remove_if_left(&entry);
            }
        }
    }
}

/// Locks a file that was just made. False: a sweep came in between, and has removed it or is about to.
fn is_held(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(false),
        // Where files cannot be locked no sweep gets a lock either.
        Err(TryLockError::Error(_)) => Ok(true),
        Ok(()) => Ok(file.metadata()?.nlink() > 0),
    }
}

/// Removes an unfinished file that nobody writes.
fn remove_if_left(entry: &DirEntry) -> io::Result<()> {
    // To open a pipe may take for ever.
    if !entry.file_type()?.is_file() {
        return Ok(());
    }
    // For writing: locks of NFS ask for it.
    let file = File::options().write(true).open(entry.path())?;
    file.try_lock()?;
    fs::remove_file(entry.path())
}

/// On the disk before the rename: after a power cut the name must not lead to an empty file.
fn write(mut file: &File, token: &str) -> io::Result<()> {
    file.write_all(token.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_file_holds_the_token_alone_and_is_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::at(&path).unwrap();
        for token in ["first", "second, which is longer", "third"] {
            file.replace(token).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), token);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(names(folder.path()), ["token"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".token.00.unfinished", ".token.bak", ".other.00.unfinished", "token"] {
            fs::write(folder.path().join(name), "part").unwrap();
        }
        TokenFile::at(&folder.path().join("token")).unwrap();
        assert_eq!(names(folder.path()), [".other.00.unfinished", ".token.bak", "token"]);
    }

    /// Two that keep the same file, and others that begin to.
    #[test]
    fn what_another_process_is_writing_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::at(&path).unwrap();
        let (unfinished, written) = file.create().unwrap();
        TokenFile::at(&path).unwrap();
        assert!(unfinished.exists());
        // As the kernel does it for a process that is killed.
        drop(written);
        TokenFile::at(&path).unwrap();
        assert!(!unfinished.exists());

        thread::scope(|scope| {
            let writers = ["first", "second"].map(|token| {
                let file = &file;
                scope.spawn(move || (0..200).try_for_each(|_| file.replace(token)))
            });
            while writers.iter().any(|writer| !writer.is_finished()) {
                TokenFile::at(&path).unwrap();
            }
            for writer in writers {
                writer.join().unwrap().unwrap();
            }
        });
        assert!(["first", "second"].contains(&fs::read_to_string(&path).unwrap().as_str()));
        assert_eq!(names(folder.path()), ["token"]);
    }

    /// A reader that opened the file before goes on reading the old token.
    #[test]
    fn readers_see_the_old_token_or_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::at(&folder.path().join("token")).unwrap();
        file.replace("old").unwrap();
        let mut open = File::open(file.path()).unwrap();
        file.replace("new").unwrap();
        assert_eq!(io::read_to_string(&mut open).unwrap(), "old");
    }

    #[test]
    fn where_nothing_can_be_written_the_message_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = TokenFile::at(folder.path()).err().unwrap().to_string();
        assert!(error.contains("name a file in it"), "{error}");
        let error = TokenFile::at(&folder.path().join("none/token")).unwrap().replace("canary").unwrap_err().to_string();
        assert!(error.contains("does it exist") && error.contains("No such file") && !error.contains("canary"), "{error}");
    }
}
