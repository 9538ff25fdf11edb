//! A certificate authority of a test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority that signs certificates into a folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file; PostgreSQL may read it, and nobody else.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one; its own certificate is `<name>.pem` in the folder.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("an authority has no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("a file");
        Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate for these host names or addresses, as `<file>.pem` and `<file>.key`.
    #[must_use]
    pub fn sign(&self, file: &str, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |extension: &str| self.folder.join(format!("{file}.{extension}"));
        let paths = Certificate { certificate: path("pem"), key: path("key") };
        std::fs::write(&paths.certificate, signed.pem()).expect("a file");
        std::fs::write(&paths.key, key.serialize_pem()).expect("a file");
        std::fs::set_permissions(&paths.key, std::fs::Permissions::from_mode(0o600)).expect("permissions");
        local::give_to_postgres(&paths.key).expect("a key that PostgreSQL may read");
        paths
    }
}
