package auth

import (
	"context"
	"errors"

	"github.com/keytail/keytail/internal/clustertime"
)

// Validator validates API keys. It is safe for concurrent use. One that wraps or caches
// another passes on every field of the Request: a verdict is for that request alone, and
// without RequireOrg the middleware's refusals of forgotten names are lost.
type Validator interface {
	// Validate decides whether the key with this text may make this request. An empty
	// text is Missing. A refusal is not an error: the error is non-nil exactly when
	// there is no verdict, and the verdict's code is Unavailable then. The error wraps
	// ErrUnavailable, or ErrRevisionAhead for a MinRevision that no answer can have
	// returned.
	Validate(ctx context.Context, key string, request Request) (Verdict, error)
}

var (
	// ErrUnavailable means that the key cannot be validated at the moment. Refuse the
	// request with 503; the client can try again.
	ErrUnavailable = errors.New("the API key cannot be validated at the moment")
	// ErrRevisionAhead means that Request.MinRevision is later than every revision of
	// the database, so no answer can have returned it: a mistake of the caller.
	ErrRevisionAhead = clustertime.ErrRevisionAhead
	// ErrStalenessExceeded is the cause of an end by CancelOnOutage: for longer than the
	// maximum staleness it has been unknown whether the key is still valid.
	ErrStalenessExceeded = errors.New("the API key could not be validated again within the maximum staleness")
)
