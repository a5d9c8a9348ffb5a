// One alert. The severities: critical, somebody must act now; warning, somebody must act
// today; info, somebody must know.
function(config) function(name, severity, seconds, expr, summary, description)
  local q = (import '../promql.libsonnet')(config);
{
  alert: name,
  expr: std.rstripChars(expr, '\n'),
  [if q.wait(seconds) != null then 'for']: q.wait(seconds),
  labels: { severity: severity },
  annotations: {
    summary: summary,
    description: description,
    runbook_url: config.runbookURL % std.asciiLower(name),
  },
}
