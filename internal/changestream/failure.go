package changestream

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keystore"
)

// The phases in which a stream fails, as labels of a metric.
const (
	phaseOpen    = "open"
	phaseResume  = "resume"
	phaseGetMore = "get_more"
)

// failureLogInterval is the minimum time between two log lines about the same failure. Failed
// attempts are at most 5 s apart.
const failureLogInterval = 10 * time.Second

// Labels in place of a code, for failures without a server code or with one that the table does
// not have.
const (
	failedOther         = "other"
	failedNetwork       = "network"
	failedTimeout       = "timeout"
	failedNoMember      = "no_member"
	failedWatchdog      = "watchdog"
	failedFreshnessMiss = "freshness_miss"
	failedDriverResumed = "resumed_by_driver"
	failedOutageOver    = "outage_over"
	failedCollection    = "collection"
	failedTokens        = "token_layout"
)

// failureAdvice is what to do about those.
var failureAdvice = map[string]string{
	failedOther:                "look up the error, and report it if it persists",
	failedNetwork:              "check that the hosts of the connection string can be reached",
	failedTimeout:              "check that the replica set has a primary, and that it can be reached",
	failedNoMember:             "start a member that --read-preference allows, with its tags and maxStalenessSeconds in --mongodb-uri, or choose a mode that falls back to the primary, such as secondaryPreferred",
	failedWatchdog:             "no action needed unless it persists; then check the connection, and whether the server has much oplog to scan",
	failedFreshnessMiss:        "no action needed unless it persists; then check that the change stream is served by the replica set that acknowledges the heartbeats",
	failedDriverResumed:        "no action needed unless it persists; then find out what ends connections or cursors, such as a load balancer in front of several mongos",
	failedOutageOver:           adviceNothing,
	failedCollection:           "check the name of the keys' collection, and that it exists",
	failedTokens:               "start with --stream-scope database",
	string(reasonCatchUp):      "if it happens again, find out what keeps keytail from reading the oplog, and check for many writes to other collections",
	string(reasonNoToken):      adviceNothing,
	string(reasonCursorEnded):  adviceNothing,
	string(reasonTokenRemoved): adviceReport,
}

// lossAdvice is what to do about losses that were not caused by a failed request of the stream.
var lossAdvice = map[string]string{
	string(reasonRewound):    "no action needed after a restore; otherwise check who may write the heartbeats (docs/security.md)",
	string(reasonUnverified): "no action needed unless it persists; then find out what interrupts the connection",

	string(reasonDrop):         "if this was not intended, create the keys' collection again, with its unique index",
	string(reasonDropDatabase): "if this was not intended, create the keys' collection again, with its unique index",
	string(reasonRename):       "if the keys' collection was renamed away, create it again, with its unique index",
	string(reasonInvalidate):   "find out who has dropped or renamed the keys' collection",
	string(reasonUndecodable):  "keytail cannot decode an event of the stream: check the server's version and report this",
	string(reasonUnknownType):  adviceUpgrade,
	string(reasonNoProgress):   "if it happens again, look in the server's log for why it ends the stream",
}

// failure describes a failed request.
type failure struct {
	// code is the metric's label: the server's code if the table has it, or a word.
	code string
	// name is the name of the server's code, empty if it has none.
	name, advice string
	// needsOperator is set when an operator has to repair something at the server.
	needsOperator bool
}

// describe finds code, name and advice for an error. False: no request has failed, but an event of
// the stream ended the history.
func describe(err error) (failure, bool) {
	if code, ok := serverCode(err); ok {
		known, ok := errorCodes[code]
		if !ok {
			return failure{code: failedOther, name: "code " + strconv.Itoa(code), advice: failureAdvice[failedOther]}, true
		}
		return failure{code: strconv.Itoa(code), name: known.name, advice: known.advice, needsOperator: known.class == classOperator || known.class == classRequest}, true
	}
	word, ok := codeWord(err)
	return failure{code: word, advice: cmp.Or(failureAdvice[word], lossAdvice[word])}, ok
}

// serverCode is the first of the server's codes that the table has, or else any.
func serverCode(err error) (code int, ok bool) {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return 0, false
	}
	for _, c := range server.ErrorCodes() {
		if c == 0 {
			continue
		}
		code = c
		if _, known := errorCodes[c]; known {
			break
		}
	}
	return code, code != 0
}

// codeWord names a failure without a server code.
func codeWord(err error) (string, bool) {
	var loss *lossError
	var selection topology.ServerSelectionError
	switch {
	case errors.Is(err, errWatchdog):
		return failedWatchdog, true
	case errors.Is(err, errFreshnessMiss):
		return failedFreshnessMiss, true
	case errors.Is(err, errDriverResumed):
		return failedDriverResumed, true
	case errors.Is(err, errOutageOver):
		return failedOutageOver, true
	case errors.Is(err, errTokenLayout):
		return failedTokens, true
	case errors.Is(err, errNoMember):
		return failedNoMember, true
	case errors.Is(err, keystore.ErrCollectionMissing), errors.Is(err, keystore.ErrIsView), errors.Is(err, keystore.ErrIsTimeseries):
		return failedCollection, true
	case errors.As(err, &loss):
		_, ok := failureAdvice[string(loss.reason)]
		return string(loss.reason), ok
	case errors.Is(err, mongo.ErrMissingResumeToken):
		return string(reasonTokenRemoved), true
	case errors.As(err, &selection), errors.Is(err, context.DeadlineExceeded), mongo.IsTimeout(err):
		return failedTimeout, true
	case mongo.IsNetworkError(err):
		return failedNetwork, true
	default:
		return failedOther, true
	}
}

// handleFailure handles the error with which the stream ended or could not be opened. A loss is
// declared before anything else, every failed request is counted, and every failure is logged,
// here unless the loss has been logged.
func (t *Tail) handleFailure(phase string, err error) {
	loss := classify(err)
	logged := loss != nil && t.declareLoss(loss)
	f, request := describe(err)
	if t.placement.failed(err, t.config.Now()) {
		t.metrics.moved.Set(1)
		t.logger.Warn("the member that served the change stream is behind or does not answer: the stream moves to the primary, and back after some minutes")
	}
	if !errors.Is(err, errOutageOver) { // which is the end of a failure
		t.diagnosis.failed(t.config.Now(), err, f.advice)
	}
	if loss != nil && !logged && !guard.FailureReported {
		return
	}
	if request {
		t.metrics.failures.WithLabelValues(phase, f.code).Inc()
	}
	if !logged {
		t.logFailure(phase, &f, err)
	}
}

// failureLog is the last log line about one kind of failure.
type failureLog struct {
	at time.Time
	// more is how often it has happened since.
	more int
}

// logFailure logs a failure, unless the same one was logged a moment ago.
func (t *Tail) logFailure(phase string, f *failure, err error) {
	now := t.config.Now()
	key := phase + " " + f.code + " " + f.name // unknown codes share a label, but not a line
	last, ok := t.logged[key]
	if ok && now.Sub(last.at) < failureLogInterval {
		last.more++
		t.logged[key] = last
		return
	}
	t.logged[key] = failureLog{at: now}
	level, message := zapcore.WarnLevel, map[string]string{
		phaseOpen:    "the change stream cannot be opened, keytail retries",
		phaseResume:  "the change stream cannot be resumed, keytail retries",
		phaseGetMore: "the change stream ended, keytail resumes it",
	}[phase]
	if f.needsOperator {
		level = zapcore.ErrorLevel
	}
	t.logger.Log(level, message, zap.String("code", f.code), zap.String("code_name", f.name), zap.String("advice", f.advice),
		zap.Int("not_logged", last.more), zap.Error(err))
}
