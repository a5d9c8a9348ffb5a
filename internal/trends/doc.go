// Package trends remembers the recent past of an instance, for its status page: the
// staleness of the last minutes, and the verdicts and delays of the last hour. A
// monitoring system remembers more; this is for the moment in which a person looks at one
// instance.
//
// The path of a request counts nothing for it: a Recorder reads the metrics, as Prometheus
// does, and keeps the differences. Its memory does not grow.
package trends
