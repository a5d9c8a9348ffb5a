package validator

import (
	"context"
	"fmt"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// Explain returns the verdict that Validate would now give on the key with this
// hash, and the verdict of the document that the database has now. They differ
// while a change has not reached this instance. An error means that the database
// could not be read.
//
// The first verdict comes from the same entry or read as that of a request, so a
// cache miss fills the cache. Explain counts no verdict, no outage and no use of
// the key; the second read is of kind explain in the metrics.
func (v *Validator) Explain(ctx context.Context, hash apikey.Hash, request *apikey.Request) (instance, database apikey.Verdict, err error) {
	if answer, source, err := v.find(ctx, hash, clustertime.Time(request.MinRevision)); err == nil {
		instance = v.decide(&answer, source, request)
	} // else the zero Verdict, which is Unavailable
	answer, err := v.readCurrent(ctx, hash)
	if err != nil {
		return apikey.Verdict{}, apikey.Verdict{}, fmt.Errorf("reading what the database has: %w", err)
	}
	return instance, v.decide(&answer, apikey.SourceDirect, request), nil
}

// readCurrent reads by the rule for fills, whatever the state of the stream.
func (v *Validator) readCurrent(ctx context.Context, hash apikey.Hash) (keycache.Answer, error) {
	began := v.config.Now()
	finding, err := v.readLimited(ctx, kindExplain, func(ctx context.Context) (keystore.Document, bool, error) {
		return v.config.Store.FindByHash(ctx, hash, v.config.Cache.Begin().Floor())
	})
	now := v.config.Now()
	return keycache.Answer{
		Found: finding.Found, ID: finding.ID, Record: finding.Record,
		AsOf: began, Now: now, Staleness: now.Sub(began),
	}, err
}
