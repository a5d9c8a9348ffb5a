package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"
)

const (
	// maxBatch ends a batch, in bytes: far more than a line, and no more than a pipe
	// takes at once.
	maxBatch = 64 << 10
	// reportInterval is the time between two log lines about decisions that were not
	// written.
	reportInterval = time.Minute
	// flushTimeout bounds the last writes at a stop: a reader of standard output that
	// does not read must not keep the process from ending.
	flushTimeout = 2 * time.Second
)

// writer is the state of Run's goroutine.
type writer struct {
	*Log
	// batch has complete lines that are not written yet, count of them.
	batch bytes.Buffer
	count int
	json  *json.Encoder
	// failure is the error of the last write. Nil: it succeeded.
	failure error
}

// Run writes until ctx ends, and then what is still in the queue. It returns nil when
// that is done, or after two seconds in which it could not be written. It can be called
// once. Call it until the last Record has returned.
func (l *Log) Run(ctx context.Context) error {
	w := &writer{Log: l}
	w.json = encoder(&w.batch)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	<-ctx.Done()
	timer := time.NewTimer(flushTimeout)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		// The goroutine is inside a write that does not return; the process ends now.
		l.logger.Error("the decision log cannot be written, its last lines are lost", zap.Int("waiting", len(l.queue)))
	}
	return nil
}

func (w *writer) run(ctx context.Context) {
	report := time.NewTicker(reportInterval)
	defer report.Stop()
	for {
		select {
		case e := <-w.queue:
			w.add(&e)
			w.flushQueue()
		case <-w.reopen:
			w.reopenFile()
		case <-report.C:
			w.report()
		case <-ctx.Done():
			w.flushQueue()
			w.report()
			w.closeFile()
			return
		}
	}
}

// flushQueue writes what waits, in batches.
func (w *writer) flushQueue() {
	for {
		select {
		case e := <-w.queue:
			w.add(&e)
			if w.batch.Len() >= maxBatch {
				w.flush()
			}
		default:
			w.flush()
			return
		}
	}
}

// add adds the line of an entry to the batch.
func (w *writer) add(e *entry) {
	line := lineOf(e, w.config.Instance)
	w.mask.apply(&line)
	// Encoding fails for no line: it has texts and times only.
	_ = w.json.Encode(&line)
	w.count++
}

// flush writes the batch, or drops it: a full disk must not fill the memory.
func (w *writer) flush() {
	if w.count == 0 {
		return
	}
	err := w.write()
	if err == nil {
		w.metrics.written.Add(float64(w.count))
	} else {
		w.drop(droppedWriteFailed, w.count)
	}
	if (err == nil) != (w.failure == nil) {
		w.logChange(err)
	}
	w.failure, w.torn = err, err != nil
	w.batch.Reset()
	w.count = 0
}

// write ends a line that a failed write has left first, so that readers lose no other.
func (w *writer) write() error {
	if w.torn {
		if _, err := w.out.Write([]byte("\n")); err != nil {
			return err
		}
	}
	_, err := w.out.Write(w.batch.Bytes())
	return err
}

// logChange logs that writes begin to fail, or succeed again.
func (w *writer) logChange(err error) {
	if err != nil {
		w.logger.Error("the decision log cannot be written, decisions are dropped: check the disk and the permissions", zap.Error(err))
		return
	}
	w.logger.Info("the decision log is written again")
}

// report logs how many decisions were dropped since the last report.
func (w *writer) report() {
	n := w.unreported.Swap(0)
	if n == 0 {
		return
	}
	w.logger.Warn("decisions are missing in the decision log: lower --decision-log-accepts, or find out why it cannot be written fast enough",
		zap.Int64("dropped", n), zap.NamedError("last_write", w.failure))
}

func (w *writer) reopenFile() {
	if err := w.open(); err != nil {
		w.logger.Error("the decision log cannot be opened again, the file that is open stays in use", zap.Error(err))
		return
	}
	w.logger.Info("the decision log has been opened again")
}

func (w *writer) closeFile() {
	if w.file == nil {
		return
	}
	if err := w.file.Close(); err != nil {
		w.logger.Error("the decision log could not be closed, its last lines may be lost", zap.Error(err))
	}
}
