package changestream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/keystore"
)

func TestWhichErrorsAreLosses(t *testing.T) {
	code := func(n int32, labels ...string) error {
		return fmt.Errorf("wrapped: %w", mongo.CommandError{Code: n, Labels: labels})
	}
	cases := []struct {
		name string
		err  error
		want Reason
	}{
		{"CappedPositionLost", code(136), reasonPositionLost},
		{"ChangeStreamHistoryLost", code(286), reasonHistoryLost},
		{"ChangeStreamHistoryLost, labelled resumable", code(286, "ResumableChangeStreamError"), reasonHistoryLost},
		{"ChangeStreamFatalError", code(280), reasonTokenRemoved},
		{"InvalidResumeToken", code(260), reasonTokenRefused},
		{"BSONObjectTooLarge", code(10334), reasonEventTooLarge},
		{"token missing in the event", fmt.Errorf("wrapped: %w", mongo.ErrMissingResumeToken), reasonTokenRemoved},
		{"a loss that keytail declares", fmt.Errorf("wrapped: %w", lost(reasonDrop, nil)), reasonDrop},
		{"OplogStartMissing", code(120), reasonHistoryLost},
		{"InvalidOptions, which may be the token's fault", code(72), reasonResumeRefused},
		{"InternalError", code(1), reasonResumeRefused},
		{"an unknown code", code(99999), reasonResumeRefused},
		{"LockTimeout", code(24), ""},
		{"KeyNotFound", code(211), ""},
		{"SnapshotUnavailable", code(246), ""},
		{"ClientDisconnect", code(279), ""},
		{"TemporarilyUnavailable", code(365), ""},
		{"AtlasError", code(8000), ""},
		{"a privilege was revoked", code(13), ""},
		{"an unknown code, but the server is overloaded", code(99999, "SystemOverloadedError", "RetryableError"), ""},
		{"ElectionInProgress", code(216), ""},
		{"NotWritablePrimary", code(10107), ""},
		{"CursorNotFound", code(43), ""},
		{"Unauthorized", code(13), ""},
		{"an unknown code, but resumable", code(99999, "ResumableChangeStreamError"), ""},
		{"network", code(0, "NetworkError"), ""},
		{"the driver's own, without a code", code(0), ""},
		{"watchdog", context.DeadlineExceeded, ""},
		{"not the server's", io.ErrUnexpectedEOF, ""},
		{"collection missing", keystore.ErrCollectionMissing, ""},
		{"anything else", errors.New("x"), ""},
	}
	for _, c := range cases {
		if got := reasonOf(classify(c.err)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
