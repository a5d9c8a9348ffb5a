// What users of the mixin may change:
//   (import 'mixin.libsonnet') + { _config+:: { jobSelector: 'job="auth"' } }
{
  _config+:: {
    // Matchers for all metrics of keytail, such as 'namespace="auth"'. Empty: all.
    selector: '',
    // Matchers for the metrics that other programs have, too: up and process_….
    jobSelector: 'job="keytail"',
    // The labels that all instances with the same collection have in common.
    fleetLabels: 'namespace, job',
    // %s is the name of the alert in small letters.
    runbookURL: 'https://github.com/keytail/keytail/blob/main/docs/runbook.md#%s',

    // Every `for` and every range of a rule is divided by it. Only for a rehearsal, in
    // which an outage of seconds must do: Prometheus then has to scrape and evaluate each
    // second. 1: not divided.
    timesDividedBy: 1,

    // The share of verdicts that are UNAVAILABLE.
    unavailableRatio: 0.01,
    // The share of heartbeats that fail.
    heartbeatFailureRatio: 0.2,
    // How much staler than the freshest one an instance may be, in parts of max_stale.
    instanceLagRatio: 0.5,
    // The share of verdicts from the cache, of instances with this many verdicts a second.
    hitRatio: 0.8,
    hitRatioVerdictsPerSecond: 1,
    // The 99 % quantiles of the requests that validate keys, and of the delay of changes.
    requestSeconds: 0.1,
    changeSeconds: 1,
    // How much of a limit, and of the connections of a listener, may be in use.
    limitRatio: 0.8,
    connectionsRatio: 0.9,
    // How long the use of keys may fail to be written.
    usageFailingSeconds: 300,
    // Restarts in 15 minutes.
    restarts: 2,
    // With this many losses in an hour somebody must look.
    losses: 3,
  },
}
