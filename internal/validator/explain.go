package validator

import (
	"context"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// Explain returns the verdict that Validate would now give on the key with this
// hash, and the verdict of the document that the database has now. They differ
// while a change has not reached this instance. Either can be Unavailable.
//
// The first verdict comes from the same entry or read as that of a request, so a
// cache miss fills the cache. Explain counts no verdict, no outage and no use of
// the key; the second read is of kind explain in the metrics.
func (v *Validator) Explain(ctx context.Context, hash apikey.Hash, request *apikey.Request) (instance, database apikey.Verdict) {
	var answer keycache.Answer
	if source, err := v.find(ctx, hash, clustertime.Time(request.MinRevision), &answer); err == nil {
		v.decide(&instance, &answer, source, request)
	} // else the zero Verdict, which is Unavailable
	answer, err := v.readCurrent(ctx, hash)
	if err != nil {
		v.logger.Warn("the database could not be read for an explanation", zap.Error(err))
		return instance, apikey.Verdict{}
	}
	v.decide(&database, &answer, apikey.SourceLinearizable, request)
	return instance, database
}

// readCurrent makes a linearizable read, whatever the state of the stream: another
// read could come from a primary that does not know of its successor, and show the
// operator an older document than the cache has.
func (v *Validator) readCurrent(ctx context.Context, hash apikey.Hash) (keycache.Answer, error) {
	began := v.config.Now()
	finding, err := v.readLimited(ctx, kindExplain, func(ctx context.Context) (keystore.Document, bool, error) {
		return v.config.Store.FindLinearizable(ctx, hash)
	})
	now := v.config.Now()
	return keycache.Answer{
		Found: finding.Found, ID: finding.ID, Record: finding.Record,
		AsOf: began, Now: now, Staleness: now.Sub(began),
	}, err
}
