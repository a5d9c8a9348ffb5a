package devmongo

import (
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The error codes of this server. Source: the error table in MongoDB's
// documentation, plus the numbers of assertions that clients rely on.
const (
	codeBadValue              = 2
	codeFailedToParse         = 9
	codeTypeMismatch          = 14
	codeOverflow              = 15
	codeInvalidLength         = 16
	codeIllegalOperation      = 20
	codeNamespaceNotFound     = 26
	codeIndexNotFound         = 27
	codePathNotViable         = 28
	codeConflictingOperators  = 40
	codeCursorNotFound        = 43
	codeNamespaceExists       = 48
	codeMaxTimeMSExpired      = 50
	codeDollarPrefixed        = 52
	codeInvalidIDField        = 53
	codeEmptyFieldName        = 56
	codeCommandNotFound       = 59
	codeWriteConcernFailed    = 64
	codeImmutableField        = 66
	codeCannotCreateIndex     = 67
	codeInvalidOptions        = 72
	codeInvalidNamespace      = 73
	codeIndexOptionsConflict  = 85
	codeIndexKeyConflict      = 86
	codeUnknownConcernMode    = 79
	codeUnsatisfiableConcern  = 100
	codeWriteConflict         = 112
	codeCappedPositionLost    = 136
	codeInvalidPipelineOp     = 168
	codeParallelArrays        = 171
	codeRateLimiter           = 209
	codeTransactionTooOld     = 225
	codeNotImplemented        = 238
	codeSnapshotUnavailable   = 246
	codeNoSuchTransaction     = 251
	codeTransactionCommitted  = 256
	codeInvalidResumeToken    = 260
	codeTxnNotSupported       = 263
	codeFatalStream           = 280
	codeHistoryLost           = 286
	codeSortMemory            = 292
	codeNotWritablePrimary    = 10107
	codeObjectTooLarge        = 10334
	codeDuplicateKey          = 11000
	codeInterruptedAtShutdown = 11600
	codeInterruptedByStepDown = 11602
	codeUnknownVariable       = 17276
	codeUnknownStage          = 40324
	codeDuplicateField        = 40413
	codeMissingField          = 40414
	codeUnknownField          = 40415
)

// codeNames are the names that accompany the codes in replies, as in MongoDB. A code
// without a name gets one from its number.
var codeNames = map[int32]string{
	2: "BadValue", 9: "FailedToParse", 13: "Unauthorized", 14: "TypeMismatch", 15: "Overflow", 16: "InvalidLength",
	18: "AuthenticationFailed", 20: "IllegalOperation", 26: "NamespaceNotFound", 27: "IndexNotFound", 28: "PathNotViable",
	40: "ConflictingUpdateOperators", 43: "CursorNotFound", 48: "NamespaceExists", 50: "MaxTimeMSExpired",
	52: "DollarPrefixedFieldName", 53: "InvalidIdField", 56: "EmptyFieldName", 59: "CommandNotFound", 64: "WriteConcernFailed",
	66: "ImmutableField", 67: "CannotCreateIndex", 72: "InvalidOptions", 73: "InvalidNamespace", 79: "UnknownReplWriteConcern",
	85: "IndexOptionsConflict", 86: "IndexKeySpecsConflict", 91: "ShutdownInProgress", 100: "UnsatisfiableWriteConcern",
	112: "WriteConflict", 136: "CappedPositionLost", 168: "InvalidPipelineOperator", 171: "CannotIndexParallelArrays",
	189: "PrimarySteppedDown", 209: "ClusterTimeFailsRateLimiter", 225: "TransactionTooOld", 238: "NotImplemented",
	251: "NoSuchTransaction", 256: "TransactionCommitted", 260: "InvalidResumeToken",
	263: "OperationNotSupportedInTransaction", 280: "ChangeStreamFatalError", 286: "ChangeStreamHistoryLost", 292: "QueryExceededMemoryLimitNoDiskUseAllowed",
	10107: "NotWritablePrimary", 10334: "BSONObjectTooLarge", 11000: "DuplicateKey", 11600: "InterruptedAtShutdown",
	11602: "InterruptedDueToReplStateChange", 13435: "NotPrimaryNoSecondaryOk",
}

// The retryable codes. Source: the drivers' specifications of retryable writes and
// change streams. The server adds the labels to its replies.
var (
	retryableWriteCodes = []int32{6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
	resumableCodes      = []int32{6, 7, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
)

// Error is an error in MongoDB's form.
type Error struct {
	// Code is MongoDB's error code.
	Code    int32
	Message string
	// Labels are error labels such as RetryableWriteError. May be empty.
	Labels []string
	// Extra holds further fields of the reply, such as keyPattern and keyValue.
	Extra bson.D
}

// Error returns the message with the name of the code.
func (e *Error) Error() string { return fmt.Sprintf("(%s) %s", codeName(e.Code), e.Message) }

func codeName(code int32) string {
	if name, ok := codeNames[code]; ok {
		return name
	}
	return fmt.Sprintf("Location%d", code)
}

func refuse(code int32, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// unsupported is the error for what devmongo does not know or does not support. The
// message names devmongo, because a MongoDB server may well support it.
func unsupported(code int32, format string, args ...any) *Error {
	return refuse(code, "%s: devmongo does not support it", fmt.Sprintf(format, args...))
}

// asError gives every error of a handler MongoDB's form. An error without a code is
// caused by malformed input.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return refuse(codeFailedToParse, "%s", err.Error())
}

// reply is the error as the reply to a command.
func (e *Error) reply() bson.D {
	d := bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: e.Message}, {Key: "code", Value: e.Code}, {Key: "codeName", Value: codeName(e.Code)}}
	d = append(d, e.Extra...)
	if len(e.Labels) > 0 {
		d = append(d, bson.E{Key: "errorLabels", Value: e.Labels})
	}
	return d
}

// withLabel returns a copy with the label, unless the error has it already.
func (e *Error) withLabel(label string) *Error {
	if slices.Contains(e.Labels, label) {
		return e
	}
	c := *e
	c.Labels = append(slices.Clone(e.Labels), label)
	return &c
}
