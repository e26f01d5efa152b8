//! Runs the stand-in for Sitecore's services by itself until it's stopped, to try things by hand or in a cluster.

use std::error::Error;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use kit::signals;
use kit::sitecore::{AUDIENCE, Sitecore};

/// A stand-in for Sitecore's token endpoint, Token API, Admin API, Deploy API and Delivery API.
#[derive(Parser)]
struct Options {
    /// Where to listen: the first of these addresses that can be had.
    #[arg(long, default_value = "127.0.0.1:8089", value_delimiter = ',')]
    listen: Vec<SocketAddr>,
    /// A client, as ID:SECRET. May be given more than once.
    #[arg(long = "client", value_name = "ID:SECRET", default_value = "demo-client:demo-secret", value_parser = client)]
    clients: Vec<(String, String)>,
    /// How long tokens live: seconds, or a number with s, m or h.
    #[arg(long, default_value = "24h", value_parser = lifetime)]
    lifetime: Duration,
}

/// The environment of the first client, for the Deploy API.
const ENVIRONMENT: &str = "demo-environment";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(std::io::stdout().is_terminal())
        .init();
    // As the first process of a container it would not be ended by a signal that it does not take.
    let stop = signals::stop()?;
    let sitecore = Sitecore::start_on(&*options.listen)?;
    for (id, secret) in &options.clients {
        sitecore.add_client(id, secret);
        sitecore.set_lifetime(id, options.lifetime);
    }
    println!(
        "Listening on {}. Ask for a token with one of",
        sitecore.url()
    );
    // Only the first: more of the same would be no help.
    for (id, secret) in options.clients.iter().take(1) {
        println!(
            "\n{}\n\n{}\n",
            form_command(&sitecore, id, secret),
            json_command(&sitecore, id, secret)
        );
        sitecore.add_environment(ENVIRONMENT, &format!("tenant-{id}"));
        println!("{}\n", key_commands(&sitecore));
    }
    stop.await;
    Ok(())
}

fn form_command(sitecore: &Sitecore, id: &str, secret: &str) -> String {
    format!(
        "curl --request POST --url {} \\
  --header \"content-type: application/x-www-form-urlencoded\" \\
  --data audience={AUDIENCE} \\
  --data grant_type=client_credentials \\
  --data client_id={id} \\
  --data client_secret={secret}",
        sitecore.token_url()
    )
}

fn json_command(sitecore: &Sitecore, id: &str, secret: &str) -> String {
    format!(
        "curl --request POST --url {} \\
  --header \"content-type: application/json\" \\
  --data '{{\"audience\":\"{AUDIENCE}\",\"grant_type\":\"client_credentials\",\"client_id\":\"{id}\",\"client_secret\":\"{secret}\"}}'",
        sitecore.token_url()
    )
}

/// What is done with a token: a key is made, listed and revoked with the Token API, obtained from the Deploy API, and used.
fn key_commands(sitecore: &Sitecore) -> String {
    let url = sitecore.url();
    format!(
        "With its access_token as TOKEN, make a key, list all keys, and revoke one by its hash:

curl --request POST --url {url}/api/apikey/v1 \\
  --header \"authorization: Bearer $TOKEN\" \\
  --header \"content-type: application/json\" \\
  --data '{{\"CreatedBy\":\"me\",\"Label\":\"my-key\",\"Scopes\":[\"audience-delivery\",\"content-#everything#\"]}}'
curl --url {url}/api/apikey/v1 --header \"authorization: Bearer $TOKEN\"
curl --request PUT --url {url}/api/apikey/v1/revokebyhash/HASH --header \"authorization: Bearer $TOKEN\"

Or obtain that of the environment {ENVIRONMENT}, and use it as KEY:

curl --url {url}/api/environments/v1/{ENVIRONMENT}/obtain-edge-token --header \"authorization: Bearer $TOKEN\"
curl --request POST --url {url}/api/graphql/v1 \\
  --header \"sc_apikey: $KEY\" \\
  --header \"content-type: application/json\" \\
  --data '{{\"query\":\"{{__typename}}\"}}'"
    )
}

fn client(text: &str) -> Result<(String, String), String> {
    let (id, secret) = text.split_once(':').ok_or("expected ID:SECRET")?;
    Ok((id.into(), secret.into()))
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(['s', 'm', 'h']);
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("expected one unit: s, m or h".into()),
    };
    let number: u32 = digits.parse().map_err(|_| "expected a number")?;
    Ok(Duration::from_secs(u64::from(number) * unit))
}
