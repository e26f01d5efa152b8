//! Memory where there are large Secrets that no object names.

use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};

use crate::{
    Bench, Result,
    report::Measured,
    scene::{PATIENCE, SILENCE, Scene, namespace},
};

/// How many are created at a time.
const WRITERS: usize = 4;

pub async fn measure(bench: &Bench, measured: &mut Measured) -> Result<()> {
    let count = bench.settings.pick(300, 50);
    let data = ByteString(vec![b'x'; 1_000_000]);
    let name = format!("{count} Secrets of 1 MB");
    first_list(bench, measured, &name, count, |secret| {
        secret.data = Some([("archive".to_owned(), data.clone())].into());
    })
    .await?;
    let count = bench.settings.pick(200, 50);
    let text = "x".repeat(250 * 1024);
    let name = format!("{count} Secrets with annotations of 250 KiB");
    first_list(bench, measured, &name, count, |secret| {
        let annotations = [("example.com/notes".to_owned(), text.clone())];
        secret.metadata.annotations = Some(annotations.into());
    })
    .await
}

async fn first_list(
    bench: &Bench,
    measured: &mut Measured,
    name: &str,
    count: usize,
    fill: impl Fn(&mut Secret),
) -> Result<()> {
    let mut scene = Scene::set_up(bench).await?;
    scene.operator.start().await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let without = scene.memory().await?;
    scene.operator.stop().await?;
    bench.say(format!("creating {name}"));
    stream::iter(0..count)
        .map(async |number| {
            let mut secret = Secret {
                metadata: ObjectMeta {
                    name: Some(format!("large-{number}")),
                    ..ObjectMeta::default()
                },
                ..Secret::default()
            };
            fill(&mut secret);
            let api = Api::<Secret>::namespaced(scene.client.clone(), &namespace(number));
            api.create(&PostParams::default(), &secret).await
        })
        .buffer_unordered(WRITERS)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    scene.operator.start().await?;
    scene.calls.until_quiet(SILENCE, PATIENCE).await?;
    let with = scene.memory().await?;
    let mut found = measured.of(format!("{name}, first list"));
    found.memory(with);
    let more = with.anonymous - without.anonymous;
    found.figure("more anonymous than without them", more, "MiB");
    let more = with.peak - without.peak;
    found.figure("more at the peak than without them", more, "MiB");
    Ok(())
}
