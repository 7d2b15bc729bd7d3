//! `shadegrad data`.

use std::path::PathBuf;

use crate::data;
use crate::lab::LabError;

use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for data_batch_1.bin to data_batch_5.bin, test_batch.bin and batches.meta.txt
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(args: &Args) -> Result<(), LabError> {
    let set = data::built_in();
    data::write_cifar10(&set, &args.out)?;
    output::say(&format!(
        "{}: {} training and {} test images written to {}",
        set.name,
        set.train.count(),
        set.test.count(),
        args.out.display()
    ));
    Ok(())
}
