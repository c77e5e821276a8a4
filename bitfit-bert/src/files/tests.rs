//! Tests of atomic writes.

use super::*;

const NAME: &str = "answers";

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write(text.as_bytes())?;
    file.finish()
}

#[test]
fn a_file_appears_only_when_it_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    fs::write(&path, "old").unwrap();
    for (finishes, content) in [(false, "old"), (true, "new")] {
        let mut file = AtomicFile::create(&path).unwrap();
        file.write(b"new").unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap(), names(dir.path()).len()), ("old".into(), 2));
        if finishes {
            file.finish().unwrap();
        } else {
            drop(file);
        }
        assert_eq!((fs::read_to_string(&path).unwrap(), names(dir.path())), (content.into(), vec![NAME.into()]));
    }
}

#[test]
fn two_writers_of_one_target_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let mut files = [(); 2].map(|()| AtomicFile::create(&path).unwrap());
    for _ in 0..3 {
        files[0].write(b"one ").unwrap();
        files[1].write(b"another ").unwrap();
    }
    let [first, second] = files;
    first.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one one one ");
    second.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "another another another ");
    assert_eq!(names(dir.path()), [NAME]);
}

#[test]
fn a_target_that_cannot_be_replaced_is_named_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let mut file = AtomicFile::create(&path).unwrap();
    file.write(b"new").unwrap();
    // No file can be renamed to a directory.
    fs::create_dir(&path).unwrap();
    let message = file.finish().unwrap_err().to_string();
    assert!(message.starts_with(&path.display().to_string()), "{message}");
    assert_eq!(names(dir.path()), [NAME]);
}

#[test]
fn a_directory_or_a_missing_one_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    fs::create_dir(&path).unwrap();
    for target in [path.clone(), path.join(".."), path.join("gone/a")] {
        let message = AtomicFile::create(&target).unwrap_err().to_string();
        assert!(message.starts_with(&target.display().to_string()) && !message.contains(SUFFIX), "{message}");
    }
    assert_eq!((names(dir.path()), names(&path)), (vec![NAME.into()], vec![]));
}

#[test]
fn what_a_killed_process_left_is_deleted_by_the_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let left = ["answers.aB3dE6.partial", "answers.000000.partial"];
    let others = ["answers.partial", "answers.12345.partial", "answers.a-b_cd.partial", "other.aB3dE6.partial"];
    for name in left.iter().chain(&others) {
        fs::write(dir.path().join(name), "left").unwrap();
    }
    let alive = AtomicFile::create(&path).unwrap();
    write(&path, "new").unwrap();
    let remaining = names(dir.path());
    assert!(left.iter().all(|name| !remaining.contains(&(*name).to_owned())), "{remaining:?}");
    assert!(others.iter().all(|name| remaining.contains(&(*name).to_owned())), "{remaining:?}");
    alive.finish().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_device_is_written_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), &link] {
            write(path, "gone").unwrap();
            assert!(fs::metadata(path).unwrap().file_type().is_char_device());
        }
        assert!(link.is_symlink());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_is_written_through_the_systems_link() {
        use std::os::fd::AsRawFd;
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join(NAME)).unwrap();
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        write(Path::new(&link), "new").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), "new");
        assert!(Path::new(&link).is_symlink());
    }

    #[test]
    fn permissions_are_kept_and_new_files_follow_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let usual = dir.path().join("usual");
        fs::write(&usual, "").unwrap();
        write(&path, "new").unwrap();
        assert_eq!(mode(&path), mode(&usual));
        for kept in [0o600, 0o640, 0o664, 0o400] {
            fs::set_permissions(&path, Permissions::from_mode(kept)).unwrap();
            let file = AtomicFile::create(&path).unwrap();
            let temporary = names(dir.path()).into_iter().find(|name| name.ends_with(SUFFIX)).unwrap();
            assert_eq!(mode(&dir.path().join(temporary)), kept, "nobody else reads it before it is finished either");
            file.finish().unwrap();
            assert_eq!(mode(&path), kept);
        }
    }

    #[test]
    fn a_link_is_replaced_and_its_target_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (precious, path) = (dir.path().join("precious"), dir.path().join(NAME));
        fs::write(&precious, "precious").unwrap();
        type Link = fn(&Path, &Path) -> io::Result<()>;
        let links: [(&Path, Link); 3] = [
            (&precious, |to, at| symlink(to, at)),
            (&precious, |to, at| fs::hard_link(to, at)),
            (Path::new("gone"), |to, at| symlink(to, at)),
        ];
        for (to, link) in links {
            _ = fs::remove_file(&path);
            link(to, &path).unwrap();
            write(&path, "new").unwrap();
            assert!(!path.is_symlink());
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
            assert!(!dir.path().join("gone").exists());
        }
    }
}

#[test]
fn a_file_is_read_whole_or_refused_by_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(NAME);
    let max = 1 << 20;
    fs::write(&path, vec![b'x'; max]).unwrap();
    assert_eq!(read(&path, max as u64).unwrap().len(), max);
    let message = read(&path, max as u64 - 1).unwrap_err().to_string();
    assert!(message.ends_with("answers: more than 0 MiB, the most that is read"), "{message}");
    fs::write(&path, vec![b'x'; max + 1]).unwrap();
    let message = read(&path, max as u64).unwrap_err().to_string();
    assert!(message.ends_with("answers: more than 1 MiB, the most that is read"), "{message}");
}
