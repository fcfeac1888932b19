use seaworthy_model::ImageFacts;
use seaworthy_oci::ImageConfig;

/// The facts of a config that rules look at. Values of variables stay in the config: they
/// may be secrets.
pub fn image_facts(config: &ImageConfig) -> ImageFacts {
    let run = &config.config;
    ImageFacts {
        user: run.user.clone(),
        env_names: run
            .env
            .iter()
            .map(|pair| pair.split_once('=').map_or(pair.as_str(), |(name, _)| name).to_owned())
            .collect(),
        command: run.entrypoint.iter().chain(&run.cmd).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_in_the_config() {
        let config = ImageConfig::parse(
            br#"{"config":{"User":"1000","Env":["PATH=/bin","TOKEN=hunter2","ODD"],"Entrypoint":["/a"],"Cmd":["b"]}}"#,
        )
        .expect("config");
        let facts = image_facts(&config);
        assert_eq!(facts.user, "1000");
        assert_eq!(facts.env_names, ["PATH", "TOKEN", "ODD"]);
        assert_eq!(facts.command, ["/a", "b"]);
    }
}
