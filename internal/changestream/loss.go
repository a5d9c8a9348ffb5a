package changestream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
)

// Reason is why the stream's history was lost. It is a metric's label.
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
	reasonCatchUp       Reason = "catch_up_too_slow"
)

// reasons lists all of them.
var reasons = []Reason{
	reasonHistoryLost, reasonPositionLost, reasonTokenRefused, reasonTokenRemoved, reasonNoToken, reasonEventTooLarge,
	reasonResumeRefused, reasonCursorEnded, reasonDrop, reasonRename, reasonDropDatabase, reasonInvalidate,
	reasonUndecodable, reasonUnknownType, reasonNoProgress, reasonRewound, reasonUnverified, reasonCatchUp,
}

// lossError means that the stream cannot be resumed exactly where it was.
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

// transientLabels are labels with which the server reports that the same request may succeed later.
// They cover codes that are newer than the table.
var transientLabels = []string{"ResumableChangeStreamError", "RetryableError", "SystemOverloadedError"}

// classify decides whether an error of the stream is a loss. Nil: the error is transient, or an
// operator has to repair something, and the stream is to be resumed from its token. A code that
// the table does not have is a loss, unless a label reports that it is transient: reading all keys
// again, once, is better than keeping a useless token forever. A code of classRequest is a loss,
// too: the token is part of the request.
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
	// An error without a code comes from the driver, for example when it clears its pool because
	// another operation met a server that shuts down. No server has reported anything about the
	// token.
	transient := true
	for _, code := range server.ErrorCodes() {
		known := errorCodes[code]
		switch {
		case known.class == classLoss && known.reason != "":
			return lost(known.reason, err)
		case code != 0 && known.class != classTransient && known.class != classOperator:
			transient = false
		}
	}
	if transient || slices.ContainsFunc(transientLabels, server.HasErrorLabel) {
		return nil
	}
	return lost(reasonResumeRefused, err)
}

// declareLoss ends the history. A loss during a loss is not counted again, and declareLoss returns
// false: nothing has been logged.
func (t *Tail) declareLoss(loss *lossError) bool {
	t.token, t.newest, t.fruitless = nil, 0, 0
	t.catchUp.lost(loss.reason)
	t.config.Heartbeater.forget()
	if isHiddenFromCache(loss.reason) || !t.config.Sink.Lose() {
		return false
	}
	t.metrics.losses.WithLabelValues(string(loss.reason)).Inc()
	status := *t.status.Load()
	status.Losses++
	status.LastLoss = &Loss{At: t.config.Now(), Reason: loss.reason}
	t.status.Store(&status)
	if t.config.OnLoss != nil {
		t.config.OnLoss(loss.reason)
	}
	f, _ := describe(loss)
	t.logger.Warn("the change stream lost its history, all keys will be read again",
		zap.String("reason", string(loss.reason)), zap.String("code", f.code), zap.String("advice", f.advice), zap.Error(loss.cause))
	return true
}
