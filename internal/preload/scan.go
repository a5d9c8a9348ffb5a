package preload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// auditTimeout is the deadline for reading one suspect again and for waiting
// until the stream has passed it.
const auditTimeout = 10 * time.Second

// scanAll makes one scan, and audits the suspects that it found.
func (p *Loader) scanAll(ctx context.Context, kind keycache.ScanKind) error {
	readAll := false
	p.config.Observer.Begin()
	defer func() { p.config.Observer.End(readAll) }()
	expected, err := p.countKeys(ctx)
	if err != nil {
		return err
	}
	scan, err := p.config.Cache.BeginScan(kind, expected)
	if err != nil {
		return err
	}
	defer scan.Abandon()
	after := scan.Ticket().Floor()
	if p.config.UniqueIndex != nil && p.config.UniqueIndex(ctx) {
		if now, err := p.clusterTime(ctx); err == nil {
			after = max(after, now)
			scan.IndexIsUnique()
		}
	}
	began := time.Now()
	err = p.readAll(ctx, scan, after, expected)
	if err != nil && !errors.Is(err, errWillFail) {
		return err
	}
	if err == nil {
		readAll = true
		p.took.Store(int64(time.Since(began)))
		if err := p.waitForStream(ctx); err != nil {
			return err
		}
	}
	err = scan.Finish()
	p.reportDuplicates(scan.Duplicates())
	p.audit(ctx, scan.Suspects())
	return err
}

// readAll adds all documents to the scan, of which there are about so many.
func (p *Loader) readAll(ctx context.Context, scan *keycache.Scan, after clustertime.Time, expected int64) error {
	now := &progress{began: time.Now(), expected: expected}
	p.running.Store(now)
	defer p.running.Store(nil)
	logging, stop := context.WithCancel(ctx)
	var logger sync.WaitGroup
	defer logger.Wait()
	defer stop()
	logger.Go(func() { now.log(logging, p.logger) })
	return p.config.Store.Scan(ctx, after, func(document *keystore.Document) error {
		now.read.Add(1)
		if document.HasHash {
			p.config.Observer.See(document.ID, &document.Record)
		}
		if err := addDocument(scan, document); err != nil {
			return err
		}
		if scan.WillFail() {
			return errWillFail
		}
		return nil
	})
}

// clusterTime returns a cluster time that is not before anything that the
// server has shown. A new index is listed immediately, but a majority read may
// still return an earlier snapshot, in which two documents share a hash. Zero:
// without a Heartbeater.
func (p *Loader) clusterTime(ctx context.Context) (clustertime.Time, error) {
	if p.config.Heartbeater == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	return p.config.Heartbeater.Beat(ctx)
}

// errTooManyHashes means that a lookup may find a document for more hashes
// than are known.
var errTooManyHashes = errors.New("the hash field of a document holds more hashes than keytail tracks")

// addDocument adds the document to the scan under every hash for which a
// lookup may find it. It skips a document that no lookup can find.
func addDocument(scan *keycache.Scan, document *keystore.Document) error {
	if document.MoreHashes {
		return fmt.Errorf("document %s: %w", document.Record.KeyID, errTooManyHashes)
	}
	finding := keycache.Found(document.ID, &document.Record)
	if document.HasHash {
		scan.Add(document.Hash, finding)
	} else {
		scan.Skip()
	}
	if guard.MarkHashes {
		for _, h := range document.OtherHashes {
			scan.AddMarker(h, finding)
		}
	}
	return nil
}

// reportDuplicates logs how many hashes more than one document has. Their keys
// are DISABLED; the documents are logged when such a key is used.
func (p *Loader) reportDuplicates(hashes int) {
	if hashes > 0 {
		p.logger.Error("documents share a hash, so their keys are DISABLED: remove all but one document of each hash, and create the unique index again",
			zap.Int("hashes", hashes))
	}
}

// waitForStream waits until the stream has passed this moment. A cursor is not
// one snapshot: a hash that moves, at one cluster time, from a document that
// the cursor has not reached to one that it has passed, is in neither of the
// two documents that it reads, although the hash was never absent. Once the
// event of every such move has been applied, its stamp makes the hash a miss.
// (The model found this: keycache/MODEL.md, "streamPastScan".)
func (p *Loader) waitForStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	now := time.Now()
	if p.config.Heartbeater != nil {
		// This is faster than waiting for the next heartbeat. If it fails, the
		// next heartbeat comes anyway.
		_, _ = p.config.Heartbeater.Beat(ctx)
	}
	if err := p.waitFreshAfter(ctx, now); err != nil {
		return fmt.Errorf("the change stream did not pass the time of the scan: %w", err)
	}
	return nil
}

// errWillFail ends a scan that can only fail; Finish returns the reason.
var errWillFail = errors.New("the scan can only fail")

// countKeys returns about how many documents there are, and an error if they
// cannot fit, whatever the keys look like, if each has a hash. A collection that might not fit is tried,
// because evictions show it. Zero: not known.
func (p *Loader) countKeys(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	n, err := p.config.Store.Count(ctx)
	if p.config.Mode != Auto || p.config.CacheBytes == 0 {
		// Then the number is for people only.
		return n, nil //nolint:nilerr // it is not known, which is no failure of the scan
	}
	if err == nil && n*smallestEntry > p.config.CacheBytes {
		err = errTooLarge
	}
	return n, err
}

// audit reads each suspect again whose entry is still valid. Most suspects have
// changed since they were stored, and mean nothing: in a flood of changes there
// are as many of them as the stream was behind the scan, and reading each of
// them, and waiting for the stream, would delay the next scan.
func (p *Loader) audit(ctx context.Context, suspects []apikey.Hash) {
	for _, h := range suspects {
		if ctx.Err() != nil {
			return
		}
		if !p.config.Cache.NeedsAudit(h) {
			continue
		}
		if err := p.auditOne(ctx, h); err != nil {
			p.logger.Debug("a suspect could not be audited, the next scan will see it again", zap.Error(err))
		}
	}
}

// auditOne compares the entry with the database after the stream has passed the
// time of the read: a freshness later than the read's end covers a heartbeat
// that was written after everything that the read saw. A difference that
// remains then is not a change that is still on its way.
func (p *Loader) auditOne(ctx context.Context, h apikey.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	ticket := p.config.Cache.Begin()
	document, found, err := p.config.Store.FindByHash(ctx, h, ticket.Floor())
	if err != nil {
		return err
	}
	if err := p.waitForStream(ctx); err != nil {
		return err
	}
	finding := keycache.Finding{}
	if found {
		finding = keycache.Found(document.ID, &document.Record)
		finding.Ambiguous = document.Ambiguous
	}
	if p.config.Cache.Audit(ticket, h, finding) {
		p.logger.Error("audit mismatch: a cached key differed from the database without a change that explains it, and was replaced: please report this as a bug",
			zap.String("key_id", document.Record.KeyID), zap.Bool("in_database", found))
	}
	return nil
}

// waitFreshAfter waits until the stream's freshness is later than t.
func (p *Loader) waitFreshAfter(ctx context.Context, t time.Time) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		if fresh := p.config.Cache.Freshness(); fresh != nil && fresh.AsOf.After(t) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
