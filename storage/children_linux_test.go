package storage

import "os"

func init() {
	if dir := os.Getenv(fillChild); dir != "" {
		fillUntilToldToStop(dir)
	}
}
