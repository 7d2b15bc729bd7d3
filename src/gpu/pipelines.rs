//! Compiled pipelines on disk, where the driver hands them out through wgpu (Vulkan). Whoever deletes the file loses
//! nothing but time.

use std::path::{Path, PathBuf};

use super::AdapterSummary;
use crate::files;

/// A larger file is not read: drivers never forget by themselves, and some day beginning anew is the faster way.
const LIMIT: u64 = 64 << 20;

/// A digest's length as text.
const DIGEST: usize = 32;

/// A driver's cache of compiled pipelines. What came to it is written when the device is closed.
#[derive(Debug)]
pub(super) struct Pipelines {
    cache: wgpu::PipelineCache,
    path: PathBuf,
    /// The digest of what lies on the disk.
    found: String,
}

impl Pipelines {
    /// The cache for this adapter and driver, with what `folder` holds of it. Nothing where wgpu offers none.
    pub(super) fn open(device: &wgpu::Device, adapter: &AdapterSummary, folder: &Path) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let parts = [&adapter.name, &adapter.backend, &adapter.driver];
        let key = files::fingerprint(parts.into_iter().flat_map(|part| [part.as_bytes(), b"\n"]));
        let path = folder.join(format!("pipelines-{key}.bin"));
        let data = files::read(&path, LIMIT).ok().and_then(|bytes| checked(&bytes).map(<[u8]>::to_vec));
        let found = data.as_ref().map_or_else(String::new, |data| files::fingerprint([&data[..]]));
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("shadegrad"),
            data: data.as_deref(),
            // What another driver wrote is left aside, and the cache begins empty.
            fallback: true,
        };
        // SAFETY: the bytes are what `get_data` gave to `drop` below, for an adapter and driver of these names: the
        // digest before them tells them from bytes of any other origin, and from damaged ones.
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(Self { cache, path, found })
    }

    /// What wgpu wants to know when it compiles a pipeline.
    pub(super) fn cache(&self) -> &wgpu::PipelineCache {
        &self.cache
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        let Some(data) = self.cache.get_data() else { return };
        let digest = files::fingerprint([&data[..]]);
        if digest == self.found {
            return;
        }
        // A cache that cannot be kept is made again: no reason to fail, nor to say anything.
        let made = self.path.parent().is_some_and(|folder| std::fs::create_dir_all(folder).is_ok());
        if made {
            let _ = files::write(&self.path, &[digest.as_bytes(), &data].concat());
        }
    }
}

/// What stands behind its own digest.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (digest, data) = bytes.split_at_checked(DIGEST)?;
    (files::fingerprint([data]).as_bytes() == digest).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::checked;
    use crate::files::fingerprint;

    #[test]
    fn only_what_stands_behind_its_digest_is_read() {
        let whole = |data: &[u8]| [fingerprint([data]).as_bytes(), data].concat();
        assert_eq!(checked(&whole(b"pipelines")), Some(&b"pipelines"[..]));
        assert_eq!(checked(&whole(b"")), Some(&b""[..]));
        let mut damaged = whole(b"pipelines");
        damaged[40] ^= 1;
        assert!(checked(&damaged).is_none() && checked(&damaged[..35]).is_none() && checked(b"short").is_none());
    }
}
