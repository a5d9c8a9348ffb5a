package keystore

import (
	"strings"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
)

// sharesHash is the defect of a document whose hash another document has, too.
const sharesHash = "shares its hash with another document"

// ambiguous merges several documents that have the same hash into one Document.
// The result is DISABLED, regardless of the documents' contents and of what a
// request requires: keytail cannot know which document is meant, and no choice
// among them is safe for every request (one may be revoked, and if two are
// active, each may allow what the other does not). The result takes its
// identity and record from the first document that is defective or inactive, or
// else from the first document.
func (s *Store) ambiguous(documents []Document) Document {
	chosen := documents[0]
	for _, d := range documents {
		if d.Record.Defect != "" || !d.Record.Active {
			chosen = d
			break
		}
	}
	s.reportShared(documents)
	chosen.Ambiguous = true
	chosen.Record.Active = false
	chosen.Record.Defect = strings.TrimPrefix(chosen.Record.Defect+"; "+sharesHash, "; ")
	chosen.Record.DefectReason = apikey.ReasonSharedHash // it holds whatever the documents contain
	return chosen
}

// reportShared counts a read that found several documents, and logs them once,
// as Report does. The cache does not store such keys, so every request for one of
// them gets here.
func (s *Store) reportShared(documents []Document) {
	if s.shared != nil {
		s.shared.Inc()
	}
	first, more := s.sharing.read(sharedID(documents), s.now())
	if !first && more == 0 {
		return
	}
	names := make([]string, len(documents))
	for i, d := range documents {
		names[i] = d.Record.KeyID
	}
	fields := []zap.Field{zap.String("collection", s.Namespace()), zap.Strings("key_ids", names), zap.String("index", s.createCommand())}
	what := "documents share a hash, so their key is DISABLED: remove all but one of them, and create the unique index again"
	if more > 0 {
		what, fields = "more documents share a hash, these are the last ones: remove all but one of each, and create the unique index again", append(fields, zap.Int("reads", more))
	}
	s.logger.Error(what, fields...)
}
