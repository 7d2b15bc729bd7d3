//! The sets that can be fetched: where their files are, how to know them, and what of them is kept.

/// A data set that can be fetched as one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Set {
    /// What people call it.
    pub title: &'static str,
    /// What the command line calls it.
    pub name: &'static str,
    /// Where its authors have it. What counts is the checksum, not the way there.
    pub url: &'static str,
    /// The file's name there.
    pub file: &'static str,
    pub bytes: u64,
    /// As its authors publish it, or torchvision, where they publish none.
    pub md5: &'static str,
    /// Its folder among the downloads.
    pub folder: &'static str,
    /// The file with its test pictures, and how many there are.
    pub test: (&'static str, usize),
    pub contents: Contents,
}

/// What is in the file that a server has.
#[derive(Debug, PartialEq, Eq)]
pub enum Contents {
    /// A `tar.gz`.
    Archive(Layout),
    /// One file that is kept as it is.
    Plain,
}

/// What an archive holds, by names within its one folder, with the most bytes that each may have.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    pub folder: &'static str,
    /// All of these must be there, and they are kept.
    pub kept: &'static [(&'static str, u64)],
    /// Nothing here needs these.
    pub passed_over: &'static [(&'static str, u64)],
    /// Whether small files of other names are passed over, too, since no list of the archive's is known here.
    pub passes_over_others: bool,
}

/// The most that a file of names may have.
pub const MAX_TEXT: u64 = 1 << 16;

/// A batch of CIFAR-10 has 10,000 records of 3,073 bytes.
const BATCH: u64 = 30_730_000;

/// The files that make CIFAR-10.
pub const CIFAR10_FILES: [&str; 7] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
    "batches.meta.txt",
];

/// The binary version of CIFAR-10 (Krizhevsky 2009); its page has the MD5.
pub static CIFAR10: Set = Set {
    title: "CIFAR-10",
    name: "cifar10",
    url: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    file: "cifar-10-binary.tar.gz",
    bytes: 170_052_171,
    md5: "c32a1d4ab5d03f1284b67883e8d87530",
    folder: "cifar-10-batches-bin",
    test: ("test_batch.bin", 10_000),
    contents: Contents::Archive(Layout {
        folder: "cifar-10-batches-bin",
        kept: &[
            (CIFAR10_FILES[0], BATCH),
            (CIFAR10_FILES[1], BATCH),
            (CIFAR10_FILES[2], BATCH),
            (CIFAR10_FILES[3], BATCH),
            (CIFAR10_FILES[4], BATCH),
            (CIFAR10_FILES[5], BATCH),
            (CIFAR10_FILES[6], MAX_TEXT),
        ],
        passed_over: &[("readme.html", MAX_TEXT)],
        passes_over_others: false,
    }),
};

/// The test pictures of CIFAR-100's binary version (Krizhevsky 2009): 10,000 records of 3,074 bytes. Same page.
pub static CIFAR100: Set = Set {
    title: "CIFAR-100",
    name: "cifar100",
    url: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    file: "cifar-100-binary.tar.gz",
    bytes: 168_513_733,
    md5: "03b5dce01913d631647c71ecec9e9cb8",
    folder: "cifar-100-binary",
    test: ("test.bin", 10_000),
    contents: Contents::Archive(Layout {
        folder: "cifar-100-binary",
        kept: &[("test.bin", 30_740_000)],
        passed_over: &[("train.bin", 153_700_000)],
        passes_over_others: true,
    }),
};

/// The test pictures of SVHN's cropped digits (Netzer et al. 2011); the MD5 is torchvision's.
pub static SVHN: Set = Set {
    title: "SVHN",
    name: "svhn",
    url: "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
    file: "test_32x32.mat",
    bytes: 64_275_384,
    md5: "eb5a983be6a315427106f1b164d9cef3",
    folder: "svhn",
    test: ("test_32x32.mat", 26_032),
    contents: Contents::Plain,
};
