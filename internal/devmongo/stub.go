package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

type description struct{}
type stream struct{}

func notYet(o *op) (bson.D, error) {
	return nil, refuse(codeNotImplemented, "%s is not built yet", o.name)
}

func update(o *op) (bson.D, error)        { return notYet(o) }
func remove(o *op) (bson.D, error)        { return notYet(o) }
func findAndModify(o *op) (bson.D, error) { return notYet(o) }
func aggregate(o *op) (bson.D, error)     { return notYet(o) }
func listIndexes(o *op) (bson.D, error)   { return notYet(o) }
func createIndexes(o *op) (bson.D, error) { return notYet(o) }
func dropIndexes(o *op) (bson.D, error)   { return notYet(o) }

func (o *op) nextEvents(*cursor, int64, int64) (bson.D, error) { return notYet(o) }

// DeleteExpired is not there yet.
func (s *Server) DeleteExpired() int { return 0 }
