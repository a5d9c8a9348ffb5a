package preload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// auditRead bounds the read of one suspect, and the wait for the stream to pass
// it.
const auditRead = 10 * time.Second

// scan makes one scan, and audits what it found suspect.
func (p *Loader) scan(ctx context.Context, kind keycache.ScanKind) error {
	if err := p.fits(ctx); err != nil {
		return err
	}
	scan, err := p.config.Cache.BeginScan(kind)
	if err != nil {
		return err
	}
	defer scan.Abandon()
	after := scan.Ticket().Floor()
	if p.config.UniqueIndex != nil && p.config.UniqueIndex(ctx) {
		if now, err := p.now(ctx); err == nil {
			after = max(after, now)
			scan.IndexIsUnique()
		}
	}
	began := time.Now()
	err = p.config.Store.Scan(ctx, after, func(document keystore.Document) error {
		if err := see(scan, &document); err != nil {
			return err
		}
		if scan.WillFail() {
			return errDoomed
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDoomed) {
		return err
	}
	if err == nil {
		p.took.Store(int64(time.Since(began)))
		if err := p.passedNow(ctx); err != nil {
			return err
		}
	}
	err = scan.Finish()
	p.reportDuplicates(scan.Duplicates())
	p.audit(ctx, scan.Suspects())
	return err
}

// now is a cluster time that is not before anything that the server has shown. An index
// that has just been made is listed at once, and a majority read may still return a
// snapshot from before, in which two documents share a hash. Zero: without a Pulse.
func (p *Loader) now(ctx context.Context) (clustertime.Time, error) {
	if p.config.Pulse == nil {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, auditRead)
	defer cancel()
	return p.config.Pulse.Beat(ctx)
}

// errOpaque: a look-up may find a document for more hashes than are known.
var errOpaque = errors.New("the hash field of a document holds more hashes than keytail tracks")

// see puts every hash for which a look-up may find the document into the cache. One
// that no look-up can find is none of its business.
func see(scan *keycache.Scan, document *keystore.Document) error {
	if document.Opaque {
		return fmt.Errorf("document %s: %w", document.Record.KeyID, errOpaque)
	}
	finding := keycache.Found(document.ID, &document.Record)
	if document.HasHash {
		scan.Add(document.Hash, finding)
	}
	if guard.MarkHashes {
		for _, h := range document.Others {
			scan.AddMarker(h, finding)
		}
	}
	return nil
}

// reportDuplicates tells how many hashes more than one document has. Their keys are
// DISABLED; the documents are named in the log when such a key is asked for.
func (p *Loader) reportDuplicates(hashes int) {
	if hashes > 0 {
		p.logger.Error("documents share a hash, so their keys are DISABLED: remove all but one document of each hash, and create the unique index again",
			zap.Int("hashes", hashes))
	}
}

// passedNow waits until the stream has passed this moment. A cursor is not one
// snapshot: a hash that moves from a document that it has not reached to one that
// it has passed, at one cluster time, is seen at neither, although it was never
// absent. Once the event of every such move has been applied, its stamp says so.
// (Found by the model: keycache/MODEL.md, "streamPastScan".)
func (p *Loader) passedNow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, auditRead)
	defer cancel()
	now := time.Now()
	if p.config.Pulse != nil {
		// Rather than wait for the next heartbeat. If it fails, that one comes.
		_, _ = p.config.Pulse.Beat(ctx)
	}
	if err := p.passed(ctx, now); err != nil {
		return fmt.Errorf("the stream did not get past the scan: %w", err)
	}
	return nil
}

// errDoomed stops a scan that can only fail; Finish says why.
var errDoomed = errors.New("the scan can only fail")

// fits refuses what cannot fit whatever the keys look like. What might not fit
// is tried: entries that are pushed out show.
func (p *Loader) fits(ctx context.Context) error {
	if p.config.Mode != Auto || p.config.CacheBytes == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, auditRead)
	defer cancel()
	n, err := p.config.Store.Count(ctx)
	if err != nil {
		return err
	}
	if n*smallestEntry > p.config.CacheBytes {
		return errTooLarge
	}
	return nil
}

// audit reads each suspect once more that is still believed. Most have changed since
// they were held, and say nothing: in a flood of changes those are as many as the stream
// was behind the scan, and to read each of them, and to wait for the stream, would hold
// up the next scan.
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

// auditOne compares after the stream has passed the time of the read: a
// freshness of later than its end covers a heartbeat that was written after what
// the read saw. Whatever differs then is not explained by a change on its way.
func (p *Loader) auditOne(ctx context.Context, h apikey.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, auditRead)
	defer cancel()
	ticket := p.config.Cache.Begin()
	document, found, err := p.config.Store.FindByHash(ctx, h, ticket.Floor())
	if err != nil {
		return err
	}
	if err := p.passedNow(ctx); err != nil {
		return err
	}
	finding := keycache.Finding{}
	if found {
		finding = keycache.Found(document.ID, &document.Record)
		finding.Ambiguous = document.Ambiguous
	}
	if p.config.Cache.Audit(ticket, h, finding) {
		p.logger.Error("AUDIT MISMATCH: a cached key differed from the database and no change explains it; it has been replaced; please report this",
			zap.String("key_id", document.Record.KeyID), zap.Bool("in_database", found))
	}
	return nil
}

// passed waits until the stream's freshness is later than t.
func (p *Loader) passed(ctx context.Context, t time.Time) error {
	ticker := time.NewTicker(poll)
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
