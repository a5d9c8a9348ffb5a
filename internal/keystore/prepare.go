package keystore

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// Prepare checks, once at the start, what keytail's promises rest on: a replica
// set or sharded cluster, a plain collection, documents that the Schema can read,
// if there are any (a small Survey is refused, or its warnings are logged), and a
// unique index on the hash. With ensure it creates the collection and
// the index where they are missing; what is there and unfit it never changes.
// Each failure is one sentence that
// says what to do, and one of this package's errors to errors.Is.
//
// Without a deadline in ctx the driver waits for a server as long as its own
// settings say (30 s by default).
func (s *Store) Prepare(ctx context.Context, ensure bool) error {
	deployment, err := s.CheckDeployment(ctx)
	if err != nil {
		return err
	}
	s.announce(deployment)
	err = s.Inspect(ctx)
	if ensure && errors.Is(err, ErrCollectionMissing) {
		err = s.createCollection(ctx)
	}
	if err != nil {
		return err
	}
	// Before the index: documents that cannot be looked up at all should not get
	// one
	if err := s.checkDocuments(ctx); err != nil {
		return err
	}
	return s.prepareIndex(ctx, ensure)
}

// announce says what is weaker here.
func (s *Store) announce(d Deployment) {
	if d.Sharded() {
		s.logger.Warn(Sharded)
	}
}

// checkDocuments looks at some documents by the Schema. A server that does not show
// them in time keeps nobody from starting.
func (s *Store) checkDocuments(ctx context.Context) error {
	brief, cancel := context.WithTimeout(ctx, s.surveyWithin)
	defer cancel()
	found, err := s.lookAt(brief, startSurvey, func(Document) {})
	if err != nil && ctx.Err() == nil && brief.Err() != nil {
		s.logger.Warn("the server has not shown a few documents of "+s.namespace()+" in time, so it is not known yet whether the mapping fits them: what cannot be read as a key is logged when it is read, and keytail doctor says more", zap.Duration("waited", s.surveyWithin))
		return nil
	}
	if err != nil {
		return err
	}
	if err := found.Refusal(); err != nil {
		return err
	}
	for _, warning := range found.Warnings() {
		s.logger.Warn(warning)
	}
	return nil
}

// prepareIndex creates the index only where there is none on the hash: beside
// one that is unfit the server would refuse it, in words that help less.
func (s *Store) prepareIndex(ctx context.Context, ensure bool) error {
	some, err := s.checkIndexes(ctx)
	if some || !ensure || !errors.Is(err, ErrNoUniqueIndex) {
		return err
	}
	if err := s.createIndex(ctx); err != nil {
		return err
	}
	_, err = s.checkIndexes(ctx)
	return err
}

// createCollection is content when somebody else was faster.
func (s *Store) createCollection(ctx context.Context) error {
	err := s.database.CreateCollection(ctx, s.schema.Collection)
	if err != nil && !hasCode(err, codeNamespaceExists) {
		return s.explain("creating the collection "+s.namespace(), err)
	}
	return nil
}
