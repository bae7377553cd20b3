package config

import (
	"regexp"
	"time"
)

// attributeForm is what an attribute is written as, with or without its sub-attribute.
var attributeForm = regexp.MustCompile(`^(urn:[A-Za-z0-9.:-]+:)?[A-Za-z$][A-Za-z0-9_$-]*(\.[A-Za-z$][A-Za-z0-9_$-]*)?$`)

// activity says whether what is kept of refused requests can be.
func (l *loader) activity() {
	a := l.Activity
	if a.Keep.Duration != 0 {
		l.lasting("activity.keep", a.Keep, time.Minute, 10*365*day)
	}
	l.sized("activity.max_size", a.MaxSize, 64<<10, 1<<40)
	if a.Body.Bytes != 0 {
		l.sized("activity.body", a.Body, 256, 1<<20)
	}
	for _, name := range a.Mask {
		if !attributeForm.MatchString(name) {
			l.wrong("activity.mask", "%q is no attribute; write names such as displayName or name.familyName", name)
		}
	}
}
