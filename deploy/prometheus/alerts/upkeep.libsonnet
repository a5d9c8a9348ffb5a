// What somebody must repair or renew.
{
  local config = self._config,
  local q = (import '../promql.libsonnet')(config),
  local alert = (import 'alert.libsonnet')(config),

  prometheusAlerts+:: {
    groups+: [{
      name: 'keytail-upkeep',
      rules: [
        alert(
          'KeytailAuditMismatch', 'critical', 0,
          '%s > 0' % q.metric('keytail_audit_mismatch_total'),
          'The cache of keytail differed from the database, which is a defect of keytail.',
          '{{ $labels.instance }} has found {{ $value }} entries that no change explains.',
        ),
        alert(
          'KeytailNoUniqueIndex', 'critical', 60,
          '%s == 0' % q.metric('keytail_unique_index'),
          'The hash of the keys has no unique index.',
          '{{ $labels.instance }} finds no unique index, so nothing prevents two documents with the same key.',
        ),
        alert(
          'KeytailDuplicateHashes', 'critical', 0,
          '%s > 0' % q.increase('keytail_duplicate_hashes_total', '', 7200),
          'Two documents have the same key, which is therefore refused.',
          '{{ $labels.instance }} has found a hash that more than one document has.',
        ),
        alert(
          'KeytailDefectiveDocuments', 'info', 0,
          '%s > 0' % q.increase('keytail_defective_documents_total', '', 7200),
          'Documents cannot be read as keys, so these keys are refused.',
          '{{ $labels.instance }} has read such documents {{ $value | printf "%.0f" }} times in two hours.',
        ),
        alert(
          'KeytailCacheIncomplete', 'info', 900,
          |||
            %s == 0
            and %s
            and ignoring (state) %s == 1
          ||| % [q.metric('keytail_complete'), 'ignoring (preload, stream_scope, usage) ' + q.metric('keytail_config_info', 'preload!="off"'), q.metric('keytail_state', 'state="live"')],
          'The cache of keytail does not hold every key.',
          '{{ $labels.instance }} is live, and has had no complete cache for 15 minutes: unknown keys are read from MongoDB.',
        ),
        alert(
          'KeytailFileRefused', 'warning', 60,
          '%s == 1' % q.metric('keytail_file_refused'),
          'keytail refuses a token or certificate file, and uses its previous content.',
          '{{ $labels.instance }} cannot use the file of --{{ $labels.file }}.',
        ),
        alert(
          'KeytailUsageFlushFailing', 'warning', 0,
          '%s > %g' % [q.metric('keytail_usage_failing_seconds'), config.usageFailingSeconds],
          'keytail cannot write when keys were used.',
          '{{ $labels.instance }} has failed for {{ $value | humanizeDuration }}.',
        ),
        alert(
          'KeytailDecisionsDropped', 'warning', 0,
          '%s > 0' % q.increase('keytail_decision_log_dropped_total', '', 600),
          'The decision log of keytail has gaps.',
          '{{ $labels.instance }} has left out {{ $value | printf "%.0f" }} decisions in 10 minutes: {{ $labels.reason }}.',
        ),
        alert(
          'KeytailKeysExpiring', 'info', 3600,
          'max by (%s) (%s) > 0' % [config.fleetLabels, q.metric('keytail_keys_expiring')],
          'API keys are about to expire.',
          '{{ $value }} active keys expire within the expiry notice.',
        ),
      ],
    }],
  },
}
