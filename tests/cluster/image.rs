//! Images, made without a container engine: an OCI image layout in one tar, as `ctr images import`, `docker load`, `kind load image-archive`
//! and `k3d image import` read it.
//!
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use oci_spec::image::{
    Arch, ConfigBuilder, Descriptor, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder, Os,
    RootFsBuilder, SCHEMA_VERSION, Sha256Digest,
};

use super::assets::target_folder;
use super::error::Error;

/// By what name containerd knows an image after its import.
const NAME: &str = "io.containerd.image.name";

/// Of nobody: as distroless images have it.
const USER: &str = "65532:65532";

/// What an image holds.
#[derive(Debug, Clone)]
pub struct Image {
    /// With registry and tag: `docker.io/library/keywright:0.1.0`.
    pub name: String,
    /// Paths in the image, and the files that go there; all may be read and executed.
    pub files: Vec<(String, PathBuf)>,
    /// The command.
    pub entrypoint: Vec<String>,
}

/// The tar of an image layout on its way.
struct Layout<W: Write>(tar::Builder<W>);

impl Image {
    /// One program, at the root.
    pub fn of_program(name: &str, tag: &str, program: PathBuf) -> Self {
        let path = format!("/{name}");
        Self { name: format!("docker.io/library/{name}:{tag}"), files: vec![(path.clone(), program)], entrypoint: vec![path] }
    }

    /// The operator's, as the Dockerfile makes it, but for the profile that it is compiled with: the one of the tests. Blocks.
    pub fn of_keywright() -> Result<Self, Error> {
        Ok(Self::of_program("keywright", env!("CARGO_PKG_VERSION"), static_keywright()?))
    }

    /// Writes the tar. Blocks.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        self.try_write(path).map_err(Error::io(format!("write the image {} to {}", self.name, path.display())))
    }

    fn try_write(&self, path: &Path) -> std::io::Result<()> {
        let layer = self.layer()?;
        let file = std::fs::File::create(path)?;
        let mut layout = Layout(tar::Builder::new(std::io::BufWriter::new(file)));
        layout.add("oci-layout", &json(OciLayoutBuilder::default().image_layout_version("1.0.0").build())?)?;
        let layer_descriptor = layout.add_blob(MediaType::ImageLayer, &layer)?;
        let config = self.configuration(&layer_descriptor)?;
        let config = layout.add_blob(MediaType::ImageConfig, &config)?;
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config)
            .layers(vec![layer_descriptor])
            .build();
        let mut manifest = layout.add_blob(MediaType::ImageManifest, &json(manifest)?)?;
        manifest.set_annotations(Some(HashMap::from([(NAME.to_owned(), self.name.clone())])));
        let index = ImageIndexBuilder::default().schema_version(SCHEMA_VERSION).media_type(MediaType::ImageIndex).manifests(vec![manifest]);
        layout.add("index.json", &json(index.build())?)?;
        layout.0.into_inner()?.flush()
    }

    /// The files, as a tar of their own. Nothing in it depends on when or by whom it was made.
    fn layer(&self) -> std::io::Result<Vec<u8>> {
        let mut layer = Layout(tar::Builder::new(Vec::new()));
        for (path, file) in &self.files {
            layer.add(path.trim_start_matches('/'), &std::fs::read(file)?)?;
        }
        layer.0.into_inner()
    }

    fn configuration(&self, layer: &Descriptor) -> std::io::Result<Vec<u8>> {
        let config = ConfigBuilder::default().entrypoint(self.entrypoint.clone()).user(USER).build().map_err(std::io::Error::other)?;
        // Not compressed, so that the layer's digest is also that of its content.
        let files = RootFsBuilder::default().typ("layers").diff_ids(vec![layer.digest().to_string()]).build();
        let configuration = ImageConfigurationBuilder::default()
            .architecture(architecture())
            .os(Os::Linux)
            .config(config)
            .rootfs(files.map_err(std::io::Error::other)?)
            .build();
        json(configuration)
    }
}

impl<W: Write> Layout<W> {
    fn add(&mut self, path: &str, content: &[u8]) -> std::io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o555);
        header.set_size(u64::try_from(content.len()).map_err(std::io::Error::other)?);
        self.0.append_data(&mut header, path, content)
    }

    fn add_blob(&mut self, media_type: MediaType, content: &[u8]) -> std::io::Result<Descriptor> {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content);
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.add(&format!("blobs/sha256/{hex}"), content)?;
        let size = u64::try_from(content.len()).map_err(std::io::Error::other)?;
        Ok(Descriptor::new(media_type, size, Sha256Digest::from_str(&hex).map_err(std::io::Error::other)?))
    }
}

fn json<T: serde::Serialize>(built: Result<T, oci_spec::OciSpecError>) -> std::io::Result<Vec<u8>> {
    let value = built.map_err(std::io::Error::other)?;
    serde_json::to_vec(&value).map_err(std::io::Error::other)
}

/// In Go's words.
fn architecture() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::ARM64 } else { Arch::Amd64 }
}

/// Builds the operator as one static file. A target with the same crates and features as the tests, of which the last step alone differs
/// (see Cargo.toml): a build with `--target` or with RUSTFLAGS would compile every crate again.
fn static_keywright() -> Result<PathBuf, Error> {
    const EXAMPLE: &str = "keywright-static";
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let (profile, folder) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
    let mut build = Command::new(cargo);
    build
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["rustc", "--locked", "--quiet", "--profile", profile, "--features", "image", "--example", EXAMPLE, "--target-dir"])
        .arg(target_folder())
        .args(["--", "-C", "target-feature=+crt-static", "-C", "strip=debuginfo"]);
    let status = build.status().map_err(Error::io("run cargo"))?;
    if !status.success() {
        return Err(Error::Command {
            command: format!("cargo rustc --example {EXAMPLE}"),
            status,
            stdout: String::new(),
            stderr: String::new(),
        });
    }
    Ok(target_folder().join(folder).join("examples").join(EXAMPLE))
}
