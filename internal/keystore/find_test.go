package keystore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
)

var errAhead = mongo.CommandError{Code: codeInvalidOptions, Name: "InvalidOptions", Message: "afterClusterTime is ahead"}

func TestReadWithoutADeadlineIsRefused(t *testing.T) {
	t.Parallel()
	s, _, _ := observed(t)
	_, _, err := s.FindByHash(t.Context(), testHash, 1)
	if !errors.Is(err, ErrNoDeadline) {
		t.Errorf("by hash: got %v", err)
	}
	_, _, err = findByID(t.Context(), s, DefaultSchema().ID(rawValue(t, "a")), 1)
	if !errors.Is(err, ErrNoDeadline) {
		t.Errorf("by id: got %v", err)
	}
	_, _, err = s.FindLinearizable(t.Context(), testHash)
	if !errors.Is(err, ErrNoDeadline) {
		t.Errorf("linearizable: got %v", err)
	}
}

func TestReadAheadIsRetriedUntilTheServerHasCaughtUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		caughtUp := time.Now().Add(2 * time.Second)
		tries := 0
		raw, err := retryWhileAhead(ctx, func() (bson.Raw, error) {
			if tries++; time.Now().Before(caughtUp) {
				return nil, errAhead
			}
			return bson.Raw("found"), nil
		})
		if string(raw) != "found" || err != nil {
			t.Fatalf("got %q, %v", raw, err)
		}
		late := time.Since(caughtUp)
		if tries < 8 || tries > 60 || late > 2*longestPause {
			t.Errorf("%d tries, found %v late", tries, late)
		}
	})
}

func TestReadThatStaysAheadEndsWithErrRevisionAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		_, err := retryWhileAhead(ctx, func() (bson.Raw, error) { return nil, errAhead })
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrRevisionAhead) || !hasCode(err, codeInvalidOptions) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(begin); waited != time.Second {
			t.Errorf("it took %v", waited)
		}
	})
}

func TestOtherErrorsAreNotRetried(t *testing.T) {
	t.Parallel()
	for _, want := range []error{mongo.ErrNoDocuments, mongo.CommandError{Code: 11601}, errors.New("anything")} {
		tries := 0
		_, err := retryWhileAhead(t.Context(), func() (bson.Raw, error) { tries++; return nil, want })
		if err == nil || err.Error() != want.Error() || tries != 1 {
			t.Errorf("%v: got %v after %d tries", want, err, tries)
		}
	}
}

func TestIDThatNoDocumentHasIsAnError(t *testing.T) {
	t.Parallel()
	s, _, _ := observed(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for _, id := range []apikey.DocID{"", DefaultSchema().ID(rawValue(t, bson.Regex{Pattern: "."}))} {
		if _, found, err := findByID(ctx, s, id, 0); !errors.Is(err, errNoID) || found {
			t.Errorf("%q: found %v, error %v", id, found, err)
		}
	}
}
