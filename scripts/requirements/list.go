package main

type requirement struct{ number, what string }

type section struct {
	title string
	list  []requirement
}

var sections = []section{
	{"What the product does", []requirement{
		{"M1", "video of two streams, sound, controls and events through the hardware layer"},
		{"M2", "RTSP on the local network, with Digest, two streams and sound, for any client"},
		{"M3", "clips, encrypted while they are written, played back with the owner's key alone"},
		{"M4", "upload to S3 storage, stored first, forwarded when it can be"},
		{"M5", "control over MQTT"},
		{"M6", "intercom"},
		{"M7", "the serial and verification code as a QR, and binding by it"},
		{"M8", "alarms with a picture"},
		{"M9", "sharing, unsharing, unbinding"},
		{"M10", "several sites, the nearest chosen"},
		{"M11", "signed updates with rollback"},
		{"M12", "runs from boot on a camera"},
		{"M13", "development without hardware"},
		{"M14", "photos and recordings at the owner's will"},
	}},
	{"Privacy", []requirement{
		{"P1", "serial and code bind and do nothing else; the code never leaves the device"},
		{"P2", "nothing is heard without consent; off within a second"},
		{"P3", "reminders with pictures can be switched off"},
		{"P4", "encrypted in transit, checks never off"},
		{"P5", "encrypted where it is stored, temporary files included"},
		{"P6", "members only: neither broker nor cloud has a right"},
		{"P7", "deleted when unbound"},
		{"P8", "identifiers are shown masked"},
		{"P9", "no key on the device opens a clip"},
		{"P10", "only configured storage, over secured channels"},
		{"P11", "no statistics"},
		{"P12", "the device's switches are the truth"},
		{"P13", "only an admin shares"},
	}},
	{"Security", []requirement{
		{"S1", "only members command, only the label pairs; replayed, held, swapped, forged messages have no effect"},
		{"S2", "ten failed pairings close the window, across restarts"},
		{"S3", "RTSP: nothing anonymous, random credentials, limits"},
		{"S4", "retained, oversized, malformed, unknown messages have no effect and cost bounded memory"},
		{"S5", "every parser of outside bytes is fuzzed"},
		{"S6", "no shell on a path that input can reach"},
		{"S7", "updates only with the vendor's signature"},
		{"S8", "secrets are never logged, on no command line, in files of mode 0600"},
		{"S9", "a wrong clock neither turns checks off nor bricks the device"},
		{"S10", "a statement of one kind is never taken for another"},
		{"S11", "grants that lead elsewhere are refused"},
	}},
	{"Reliability", []requirement{
		{"R1", "live goes on whatever card, cloud, broker, clock or another viewer do"},
		{"R2", "a closed clip is not lost before the store confirmed it"},
		{"R3", "a power cut costs at most one fragment"},
		{"R4", "a board that stalls, dies or writes garbage is restarted with back-off"},
		{"R5", "a component that fails is restarted alone; too many failures end the process"},
		{"R6", "memory is bounded; full queues drop by a written rule and count it"},
		{"R7", "a card that is full, read-only, slow, gone"},
		{"R8", "broker and storage away: the backlog is kept and drained in order"},
		{"R9", "a wrong configuration is told whole, with its paths"},
		{"R10", "nothing grows over a long run"},
	}},
}
