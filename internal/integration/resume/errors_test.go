package resume

import (
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// failure is a way in which a command fails.
type failure struct {
	name string
	of   func(c *command) action
}

// code is an error code of the server, with its name.
type code struct {
	number int32
	name   string
}

// The codes that a command fails with. The last one does not exist.
var codes = []code{
	{6, "HostUnreachable"},
	{13, "Unauthorized"},
	{43, "CursorNotFound"},
	{50, "MaxTimeMSExpired"},
	{91, "ShutdownInProgress"},
	{136, "CappedPositionLost"},
	{189, "PrimarySteppedDown"},
	{234, "RetryChangeStream"},
	{260, "InvalidResumeToken"},
	{280, "ChangeStreamFatalError"},
	{286, "ChangeStreamHistoryLost"},
	{10107, "NotWritablePrimary"},
	{10334, "BSONObjectTooLarge"},
	{11602, "InterruptedDueToReplStateChange"},
	{9999, ""},
}

// resumable and retryable are those of the codes to which a server adds the label
// ResumableChangeStreamError to the error of a stream, and RetryableWriteError to that of a write
// (the drivers' specifications of change streams and of retryable writes).
var (
	resumable = []int32{6, 91, 189, 234, 10107, 11602}
	retryable = []int32{6, 91, 189, 10107, 11602}
)

// failures are all of them. The server has executed a command, or not, when it fails.
func failures() []failure {
	all := []failure{
		{"cut before", func(*command) action { return action{unsent: true, cut: true} }},
		{"cut after", func(*command) action { return action{cut: true} }},
		{"no answer", func(*command) action { return action{unsent: true} }},
		{"no answer after", func(*command) action { return action{silent: true} }},
	}
	for _, k := range codes {
		all = append(all,
			failure{fmt.Sprintf("code %d", k.number), func(c *command) action { return action{unsent: true, reply: k.reply(c)} }},
			failure{fmt.Sprintf("code %d after", k.number), func(c *command) action { return action{reply: k.reply(c)} }})
	}
	return all
}

// reply is the server's reply to a command that failed with the code.
func (k code) reply(c *command) bson.D {
	reply := bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "the test made this command fail"}, {Key: "code", Value: k.number}}
	if k.name != "" {
		reply = append(reply, bson.E{Key: "codeName", Value: k.name})
	}
	ofStream := c.class == classOpen || c.class == classGetMore
	switch {
	case ofStream && slices.Contains(resumable, k.number):
		reply = append(reply, bson.E{Key: "errorLabels", Value: bson.A{"ResumableChangeStreamError"}})
	case c.class == classHeartbeat && slices.Contains(retryable, k.number):
		reply = append(reply, bson.E{Key: "errorLabels", Value: bson.A{"RetryableWriteError"}})
	}
	return reply
}
