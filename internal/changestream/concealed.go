package changestream

import "github.com/keytail/keytail/internal/guard"

// concealed reports whether a loss is to be kept from the cache, as a consumer
// would that simply opens a new stream. It is the constant false, but in tests of
// what the anomalies would be (internal/guard).
func concealed(r Reason) bool {
	switch r {
	case reasonNoToken:
		return !guard.LossNoToken
	case reasonHistoryLost:
		return !guard.LossHistory
	case reasonPositionLost:
		return !guard.LossPosition
	case reasonTokenRefused:
		return !guard.LossTokenRefused
	case reasonTokenRemoved:
		return !guard.LossTokenRemoved
	case reasonEventTooLarge:
		return !guard.LossEventTooLarge
	case reasonResumeRefused:
		return !guard.LossUnknownCode
	case reasonCursorEnded:
		return !guard.LossCursorEnded
	case reasonDrop:
		return !guard.LossDrop
	case reasonRename:
		return !guard.LossRename
	case reasonDropDatabase:
		return !guard.LossDropDatabase
	case reasonInvalidate:
		return !guard.LossInvalidate
	case reasonUndecodable:
		return !guard.LossUndecodable
	case reasonUnknownType:
		return !guard.LossUnknownType
	default:
		return false
	}
}
