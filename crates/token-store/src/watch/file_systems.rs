//! What is known of file systems, by their numbers (`statfs(2)`, `linux/magic.h`).

use std::{fs::File, path::Path};

use rustix::{
    fs::{StatFs, fstatfs, statfs},
    io,
};

/// Those that other machines write to without a notice here: NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS.
const REMOTE: [u32; 8] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
];

/// Those of which an open file shows whatever becomes of it, and be it that another one is put in its place: ext2 to ext4,
/// XFS, Btrfs, F2FS, tmpfs. On an overlay a file that is changed is another one.
const OPEN_BOOKS: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// Says whether what happens in a folder may go unnoticed.
pub(super) fn is_remote(folder: &Path) -> bool {
    is_among(&REMOTE, statfs(folder))
}

/// Says whether it is known that a look at an open file shows as much as one at its path.
pub(super) fn is_open_book(file: &File) -> bool {
    is_among(&OPEN_BOOKS, fstatfs(file))
}

fn is_among(kinds: &[u32], statfs: io::Result<StatFs>) -> bool {
    // The kernel's numbers have 32 bits, whatever the type of the field.
    statfs.is_ok_and(|statfs| kinds.contains(&(statfs.f_type as u32)))
}
