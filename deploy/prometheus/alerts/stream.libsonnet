// Whether changes arrive.
{
  local config = self._config,
  local q = (import '../promql.libsonnet')(config),
  local alert = (import 'alert.libsonnet')(config),

  prometheusAlerts+:: {
    groups+: [{
      name: 'keytail-stream',
      rules: [
        alert(
          'KeytailHeartbeatsFailing', 'warning', 60,
          |||
            sum without (result) (%s)
            /
            sum without (result) (%s)
            > %g
          ||| % [
            q.rate('keytail_heartbeats_total', 'result!="acknowledged"', 120),
            q.rate('keytail_heartbeats_total', '', 120),
            config.heartbeatFailureRatio,
          ],
          'Heartbeats of keytail fail.',
          '{{ $value | humanizePercentage }} of the heartbeats of {{ $labels.instance }} fail or are refused.',
        ),
        alert(
          'KeytailNoProgress', 'warning', 60,
          |||
            %s > 0
            unless ignoring (result)
            %s > 0
          ||| % [
            q.rate('keytail_heartbeats_total', 'result="acknowledged"', 120),
            q.observations('keytail_heartbeat_round_trip_seconds', '', 120),
          ],
          'The change stream brings nothing.',
          'MongoDB acknowledges the heartbeats of {{ $labels.instance }}, and none of them has arrived for two minutes.',
        ),
        alert(
          'KeytailHistoryLost', 'info', 0,
          '%s > 0' % q.increase('keytail_losses_total', '', 900),
          'keytail has lost the history of the change stream, and has read all keys again.',
          '{{ $labels.instance }}: {{ $labels.reason }}.',
        ),
        alert(
          'KeytailHistoryLostRepeatedly', 'warning', 0,
          // An increase is extrapolated, so it is not a whole number.
          'sum without (reason) (%s) > %g' % [q.increase('keytail_losses_total', '', 3600), config.losses - 0.5],
          'keytail loses the history of the change stream again and again.',
          '{{ $labels.instance }} has lost it {{ $value | printf "%.0f" }} times in an hour.',
        ),
        alert(
          'KeytailRevocationsLate', 'warning', 300,
          'instance:keytail_event_lag_seconds:p99_5m > %g' % config.changeSeconds,
          'Changes of keys arrive late.',
          'One of a hundred changes, revocations included, reaches {{ $labels.instance }} after {{ $value | humanizeDuration }} or later.',
        ),
      ],
    }],
  },
}
