//! The certificate authority of one control plane.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::error::Result;

/// A certificate authority that lives as long as its control plane does.
///
/// Its certificates never expire in practice (rcgen's default is the year 4096): nothing here tests that.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A key and the certificate for it, both in PEM.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A key pair in PEM. Kubernetes signs service account tokens with it.
#[derive(Debug)]
pub(super) struct SigningKey {
    pub(super) private: String,
    pub(super) public: String,
}

impl Authority {
    pub(super) fn new() -> Result<Authority> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject("kit control plane CA", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Authority { issuer, pem })
    }

    /// The authority's own certificate, in PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's certificate for these host names and addresses.
    pub(super) fn server(&self, name: &str, hosts: &[&str]) -> Result<Identity> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = subject(name, None);
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate. To Kubernetes, the common name is the user and the organization a group.
    pub(super) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(user, group);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Identity {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl SigningKey {
    pub(super) fn new() -> Result<SigningKey> {
        let key = KeyPair::generate()?;
        Ok(SigningKey {
            private: key.serialize_pem(),
            public: key.public_key_pem(),
        })
    }
}

fn subject(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}
