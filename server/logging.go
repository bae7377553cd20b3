package server

import (
	"io"
	"log/slog"

	"scimbox/server/config"
)

// NewLogger returns a logger as the configuration wants it. terminal says whether w is one. The level can be changed later.
func NewLogger(w io.Writer, terminal bool, c config.Log) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(Level(c))
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "text" || c.Format == "auto" && terminal {
		return slog.New(slog.NewTextHandler(w, o)), level
	}
	return slog.New(slog.NewJSONHandler(w, o)), level
}

// Level returns the level that the configuration names.
func Level(c config.Log) slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(c.Level)); err != nil {
		return slog.LevelInfo // config has refused the others
	}
	return l
}
