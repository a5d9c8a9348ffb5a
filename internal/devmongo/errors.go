package devmongo

import (
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The codes that this server answers with. Source: the error table in MongoDB's
// documentation, plus the numbers of single assertions that clients rely on.
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
	codeWriteConcernTimeout   = 64
	codeImmutableField        = 66
	codeCannotCreateIndex     = 67
	codeInvalidOptions        = 72
	codeInvalidNamespace      = 73
	codeIndexOptionsConflict  = 85
	codeIndexKeyConflict      = 86
	codeUnsatisfiableConcern  = 100
	codeWriteConflict         = 112
	codeCappedPositionLost    = 136
	codeInvalidPipelineOp     = 168
	codeParallelArrays        = 171
	codeRateLimiter           = 209
	codeTransactionTooOld     = 225
	codeNotImplemented        = 238
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

// codeNames are sent beside the code, as MongoDB does; a code without a name is
// called after its number.
var codeNames = map[int32]string{
	2: "BadValue", 9: "FailedToParse", 13: "Unauthorized", 14: "TypeMismatch", 15: "Overflow", 16: "InvalidLength",
	18: "AuthenticationFailed", 20: "IllegalOperation", 26: "NamespaceNotFound", 27: "IndexNotFound", 28: "PathNotViable",
	40: "ConflictingUpdateOperators", 43: "CursorNotFound", 48: "NamespaceExists", 50: "MaxTimeMSExpired",
	52: "DollarPrefixedFieldName", 53: "InvalidIdField", 56: "EmptyFieldName", 59: "CommandNotFound",
	64: "WriteConcernFailed", 66: "ImmutableField", 67: "CannotCreateIndex", 72: "InvalidOptions", 73: "InvalidNamespace",
	85: "IndexOptionsConflict", 86: "IndexKeySpecsConflict", 91: "ShutdownInProgress", 100: "UnsatisfiableWriteConcern",
	112: "WriteConflict", 136: "CappedPositionLost", 168: "InvalidPipelineOperator", 171: "CannotIndexParallelArrays",
	189: "PrimarySteppedDown", 209: "ClusterTimeFailsRateLimiter", 225: "TransactionTooOld", 238: "NotImplemented",
	251: "NoSuchTransaction", 256: "TransactionCommitted", 260: "InvalidResumeToken",
	263: "OperationNotSupportedInTransaction", 280: "ChangeStreamFatalError", 286: "ChangeStreamHistoryLost", 292: "QueryExceededMemoryLimitNoDiskUseAllowed",
	10107: "NotWritablePrimary", 10334: "BSONObjectTooLarge", 11000: "DuplicateKey", 11600: "InterruptedAtShutdown",
	11602: "InterruptedDueToReplStateChange", 13435: "NotPrimaryNoSecondaryOk",
}

// The retryable codes. Source: the retryable writes and change streams
// specifications of the drivers; the server adds these labels itself.
var (
	retryableWriteCodes = []int32{6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436}
	resumableCodes      = []int32{6, 7, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436}
)

// Error is a refusal in MongoDB's form.
type Error struct {
	// Code is MongoDB's number for the kind of error, Message its sentence.
	Code    int32
	Message string
	// Labels are error labels such as RetryableWriteError. May be empty.
	Labels []string
	// Extra holds further fields of the reply, such as keyPattern and keyValue.
	Extra bson.D
}

// Error is the message with the code's name.
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

// asError gives every error of a handler MongoDB's form; one that has none yet
// is a malformed input.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return refuse(codeFailedToParse, "%s", err.Error())
}

// reply is the error as a command's answer.
func (e *Error) reply() bson.D {
	d := bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: e.Message}, {Key: "code", Value: e.Code}, {Key: "codeName", Value: codeName(e.Code)}}
	d = append(d, e.Extra...)
	if len(e.Labels) > 0 {
		d = append(d, bson.E{Key: "errorLabels", Value: e.Labels})
	}
	return d
}

// withLabel returns a copy that carries the label once.
func (e *Error) withLabel(label string) *Error {
	if slices.Contains(e.Labels, label) {
		return e
	}
	c := *e
	c.Labels = append(slices.Clone(e.Labels), label)
	return &c
}
