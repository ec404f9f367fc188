//! Generates the gRPC types with a Protocol Buffers compiler written in Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["csi.proto", "provider.proto", "registration.proto"];
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // Requests carry service-account tokens and secret files: no generated type of the
        // whole crate may end up in a log by its `Debug`.
        .skip_debug([
            "csi.v1.NodePublishVolumeRequest",
            "v1alpha1.MountRequest",
            "v1alpha1.MountResponse",
            "v1alpha1.File",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
