//! Flags of alerts and their targets.

use clap::Subcommand;

/// Verbs of `alert`.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertVerb {
    /// List alerts, newest first
    #[command(after_help = "Example: seaworthy alert list -n 20")]
    List {
        /// How many
        #[arg(short, default_value = "100")]
        n: u32,
    },
    /// Where alerts are sent
    #[command(subcommand)]
    Target(AlertTargetVerb),
    /// Messages that could not be delivered
    #[command(subcommand)]
    Dead(AlertDeadVerb),
}

/// Verbs of `alert target`.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertTargetVerb {
    /// Create a target; the secret of a webhook is shown once
    #[command(after_help = "Examples:
  seaworthy alert target create chat --url https://hooks.example.com/seaworthy
  seaworthy alert target create siem --url - --event container.violation < url.txt
  seaworthy alert target create ops --mail ops@example.com
  seaworthy alert target create deploy --url https://ci.example.com/hook --event manifest.push --repository prod
  seaworthy alert target create azure --url https://ci.example.com/acr --event manifest.push --format acr
Alerts: container.blocked, container.violation; without --event, both.
Of the registry: manifest.push, manifest.quarantine, manifest.release, manifest.reject, manifest.delete, manifest.collect,
manifest.restore, tag.delete, tag.expire, tag.restore, repository.delete, image.promote.")]
    Create {
        /// Name
        name: String,
        /// Address of the webhook, or `-` to read it from stdin
        #[arg(long, value_name = "URL", required_unless_present = "mail", conflicts_with = "mail")]
        url: Option<String>,
        /// Mail address
        #[arg(long, value_name = "ADDRESS")]
        mail: Option<String>,
        /// Only this event, such as container.blocked or manifest.push [default: all alerts]
        #[arg(long = "event", value_name = "EVENT")]
        events: Vec<String>,
        /// Of the registry only this repository, with all below it [default: all]
        #[arg(long = "repository", value_name = "PREFIX", requires = "url")]
        repositories: Vec<String>,
        /// Form of the webhook's body: acr is that of Azure's registry
        #[arg(long, value_name = "FORMAT", value_parser = ["cloudevents", "acr"], default_value = "cloudevents")]
        format: String,
        /// Private network that the webhook may lie in, such as 10.0.0.0/8
        #[arg(long = "allow-network", value_name = "NETWORK", requires = "url")]
        networks: Vec<String>,
    },
    /// List targets
    List,
    /// Show one, and how its deliveries go
    Show {
        /// Name
        name: String,
    },
    /// Delete one with the messages that wait for it
    #[command(visible_alias = "remove")]
    Delete {
        /// Name
        name: String,
    },
    /// Send a test; exits 1 when it was not delivered
    Test {
        /// Name
        name: String,
    },
}

/// Verbs of `alert dead`.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertDeadVerb {
    /// List messages that were given up, newest first
    List {
        /// How many
        #[arg(short, default_value = "100")]
        n: u32,
    },
    /// Send one again, under the same id
    Resend {
        /// Message id
        id: String,
    },
}
