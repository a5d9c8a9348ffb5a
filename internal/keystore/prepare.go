package keystore

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
)

// Prepare checks, once at the start, what keytail's guarantees depend on: a
// replica set or sharded cluster, a plain collection, documents that the Schema
// can read, if there are any (Prepare makes a small Survey, and returns its
// error or logs its warnings), and a unique index on the hash. With ensure it
// creates the collection and the index if they are missing; it never changes
// anything that exists. Each error is one sentence with what to do, and
// for errors.Is one of this package's errors.
//
// If ctx has no deadline, the driver waits for a server as long as its own
// settings allow (30 s by default).
func (s *Store) Prepare(ctx context.Context, ensure bool) error {
	deployment, err := s.CheckDeployment(ctx)
	if err != nil {
		return err
	}
	s.logDeployment(deployment)
	for _, warning := range s.schema.Warnings() {
		s.logger.Warn(warning)
	}
	if warning := s.SecretWarning(); warning != "" {
		s.logger.Warn(warning)
	}
	err = s.Inspect(ctx)
	if ensure && errors.Is(err, ErrCollectionMissing) {
		err = s.createCollection(ctx)
	}
	if err != nil {
		return err
	}
	// Before the index: a collection whose documents no lookup can find should
	// not get one
	if err := s.checkDocuments(ctx); err != nil {
		return err
	}
	return s.prepareIndex(ctx, ensure)
}

// logDeployment logs which guarantee is weaker on this deployment.
func (s *Store) logDeployment(d Deployment) {
	if d.Sharded() {
		s.logger.Warn(Sharded)
	}
}

// checkDocuments checks some documents against the Schema. A server that does
// not return them in time does not prevent the start.
func (s *Store) checkDocuments(ctx context.Context) error {
	brief, cancel := context.WithTimeout(ctx, s.surveyWithin)
	defer cancel()
	found, err := s.startSample(brief)
	// The server gives up a little before the deadline, by the maxTimeMS that the driver sends.
	if err != nil && ctx.Err() == nil && (brief.Err() != nil || mongo.IsTimeout(err)) {
		s.logger.Warn("the server did not return the first documents of the collection in time, so it is unknown whether the mapping fits them: run keytail doctor, and see the log for documents that cannot be read as keys",
			zap.String("collection", s.Namespace()), zap.Duration("waited", s.surveyWithin))
		return nil
	}
	if err != nil {
		return err
	}
	others := found.otherTypes()
	s.found.Store(&others)
	if err := found.StartError(); err != nil {
		return err
	}
	// Whole documents may be large: what is not read in time gives no warning
	_ = s.readOtherFields(brief, found)
	for _, warning := range found.Warnings() {
		s.logger.Warn(warning)
	}
	return nil
}

// startSample is a small sample, or one of the size of a Survey if the small one
// contains no usable key: a start is refused for that only if keytail doctor
// would say the same.
func (s *Store) startSample(ctx context.Context) (*Survey, error) {
	small, err := s.sample(ctx, startSurvey, func(Document) {})
	if err != nil || small.Usable() > 0 || small.Documents < startSurvey {
		return small, err
	}
	if large, err := s.sample(ctx, DefaultSurvey, func(Document) {}); err == nil {
		return large, nil
	}
	return small, nil
}

// prepareIndex creates the index only if there is none on the hash: if there is
// an unusable one, the server would refuse to create another, with a less
// helpful error.
func (s *Store) prepareIndex(ctx context.Context, ensure bool) error {
	exists, err := s.checkIndexes(ctx)
	if exists || !ensure || !errors.Is(err, ErrNoUniqueIndex) {
		return err
	}
	if err := s.createIndex(ctx); err != nil {
		return err
	}
	_, err = s.checkIndexes(ctx)
	return err
}

// createCollection succeeds if the collection was created by another client
// meanwhile.
func (s *Store) createCollection(ctx context.Context) error {
	err := s.database.CreateCollection(ctx, s.schema.Collection)
	if err != nil && !hasCode(err, codeNamespaceExists) {
		return s.explain("creating the collection "+s.Namespace(), err)
	}
	return nil
}
