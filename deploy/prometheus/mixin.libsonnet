// The mixin of keytail: alerts, recording rules and a dashboard, in the form of
// https://monitoring.mixins.dev. docs/metrics.md says how to install it. The files
// alerts.yaml, rules.yaml and dashboards/keytail.json are made from it.
(import 'config.libsonnet') +
(import 'alerts/alerts.libsonnet') +
(import 'rules.libsonnet') +
{
  // The dashboard is made by Go code, in generate/.
  grafanaDashboards+:: { 'keytail.json': import 'dashboards/keytail.json' },
}
