//! Properties of file systems, by their magic numbers (`statfs(2)`, `linux/magic.h`).

use std::{fs::File, path::Path};

use rustix::{
    fs::{StatFs, fstatfs, statfs},
    io,
};

/// File systems that other machines can write to without a notice here: NFS, SMB, CIFS, SMB2, FUSE, 9P, Ceph, AFS.
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

/// File systems where inspecting an open file shows every change, even its replacement by another file: ext2 to ext4,
/// XFS, Btrfs, F2FS, tmpfs. Not overlayfs, where changing a file can turn it into another file.
const OPEN_BOOKS: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// Says whether changes in a folder may go unnoticed.
pub(super) fn is_remote(folder: &Path) -> bool {
    is_among(&REMOTE, statfs(folder))
}

/// Says whether inspecting the open file is known to be as good as inspecting its path.
pub(super) fn is_open_book(file: &File) -> bool {
    is_among(&OPEN_BOOKS, fstatfs(file))
}

fn is_among(kinds: &[u32], statfs: io::Result<StatFs>) -> bool {
    // The kernel's magic numbers have 32 bits, whatever the type of the field.
    statfs.is_ok_and(|statfs| kinds.contains(&(statfs.f_type as u32)))
}
