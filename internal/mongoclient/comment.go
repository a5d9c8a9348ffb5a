package mongoclient

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/tracing"
)

// WithComment gives a find the trace of ctx as its comment, which the server shows in its
// log of slow queries, its profiler and currentOp. A find whose trace is not sampled has
// none. MongoDB takes a text as the comment of a find in every version that keytail
// supports.
func WithComment(ctx context.Context, find *options.FindOptionsBuilder) *options.FindOptionsBuilder {
	if comment := tracing.Comment(ctx); comment != "" {
		find.SetComment(comment)
	}
	return find
}
