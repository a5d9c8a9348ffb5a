package changestream

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Reason says why the stream's history was lost. It is a metric's label.
type Reason string

// The reasons for a loss.
const (
	reasonHistoryLost   Reason = "history_lost"
	reasonPositionLost  Reason = "position_lost"
	reasonTokenRefused  Reason = "token_refused"
	reasonTokenRemoved  Reason = "token_removed"
	reasonNoToken       Reason = "no_token"
	reasonEventTooLarge Reason = "event_too_large"
	reasonResumeRefused Reason = "resume_refused"
	reasonCursorEnded   Reason = "cursor_ended"
	reasonDrop          Reason = "drop"
	reasonRename        Reason = "rename"
	reasonDropDatabase  Reason = "drop_database"
	reasonInvalidate    Reason = "invalidate"
	reasonUndecodable   Reason = "undecodable_event"
	reasonUnknownType   Reason = "unknown_event_type"
	reasonNoProgress    Reason = "no_progress"
	reasonRewound       Reason = "history_rewound"
	reasonUnverified    Reason = "history_unverified"
)

// lossError says that the stream cannot be resumed exactly where it was.
type lossError struct {
	reason Reason
	cause  error
}

func lost(reason Reason, cause error) *lossError { return &lossError{reason: reason, cause: cause} }

func (e *lossError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("the change stream's history is lost (%s)", e.reason)
	}
	return fmt.Sprintf("the change stream's history is lost (%s): %v", e.reason, e.cause)
}

func (e *lossError) Unwrap() error { return e.cause }

// lossCodes are the server's own words for a history that is gone (error_codes.yml
// of the server): a token that cannot be resumed from now will not be later.
var lossCodes = map[int]Reason{
	136:   reasonPositionLost,  // CappedPositionLost: the oplog rolled past an open cursor
	286:   reasonHistoryLost,   // ChangeStreamHistoryLost: ... past the token
	260:   reasonTokenRefused,  // InvalidResumeToken
	280:   reasonTokenRemoved,  // ChangeStreamFatalError, mostly: the pipeline lost _id
	10334: reasonEventTooLarge, // BSONObjectTooLarge: an event over 16 MiB
}

// passingCodes are errors of a server that is busy with itself; the same token
// will be good when it is done. They are the driver's list of retryable and
// state-change errors, and those of credentials and deadlines, which somebody
// mends outside.
var passingCodes = map[int]bool{
	6:     true, // HostUnreachable
	7:     true, // HostNotFound
	13:    true, // Unauthorized
	18:    true, // AuthenticationFailed
	43:    true, // CursorNotFound
	50:    true, // MaxTimeMSExpired
	63:    true, // StaleShardVersion
	89:    true, // NetworkTimeout
	91:    true, // ShutdownInProgress
	133:   true, // FailedToSatisfyReadPreference
	134:   true, // ReadConcernMajorityNotAvailableYet
	150:   true, // StaleEpoch
	175:   true, // QueryPlanKilled
	189:   true, // PrimarySteppedDown
	202:   true, // NetworkInterfaceExceededTimeLimit
	216:   true, // ElectionInProgress
	234:   true, // RetryChangeStream
	237:   true, // CursorKilled
	262:   true, // ExceededTimeLimit
	317:   true, // ConnectionPoolExpired
	391:   true, // ReauthenticationRequired
	462:   true, // IngressRequestRateLimitExceeded
	9001:  true, // SocketException
	10107: true, // NotWritablePrimary
	11600: true, // InterruptedAtShutdown
	11601: true, // Interrupted
	11602: true, // InterruptedDueToReplStateChange
	13388: true, // StaleConfig
	13435: true, // NotPrimaryNoSecondaryOk
	13436: true, // NotPrimaryOrSecondary
}

// classify says whether an error of the stream is a loss. Nil: it may pass, and
// the stream is to be resumed from its token. Anything that neither list knows
// is a loss: better to read all anew than to hold on to a token for ever.
func classify(err error) *lossError {
	var loss *lossError
	if errors.As(err, &loss) {
		return loss
	}
	if errors.Is(err, mongo.ErrMissingResumeToken) {
		return lost(reasonTokenRemoved, err)
	}
	var server mongo.ServerError
	if !errors.As(err, &server) || mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	// An error without a code is the driver's own, as when it clears its pool
	// since another operation met a server that shuts down: no server has spoken
	// about the token.
	passing := true
	for _, code := range server.ErrorCodes() {
		if reason, ok := lossCodes[code]; ok {
			return lost(reason, err)
		}
		passing = passing && (code == 0 || passingCodes[code])
	}
	if passing || server.HasErrorLabel("ResumableChangeStreamError") {
		return nil
	}
	return lost(reasonResumeRefused, err)
}
