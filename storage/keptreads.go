package storage

import "iter"

// What a reader of the engine on disk is given out of memory, and what of its reads is kept: packed (packedrows.go), or as it is
// (hotrows.go). Everything else, and whatever is in neither, is for find and scan (badger.go).

// Get implements [Reader].
func (r *badgerReader) Get(key []byte) (value []byte, err error) {
	p := r.e.packed.Load()
	if p == nil || !keptAlone(key) {
		return r.lookUp(key)
	}
	if r.writes && isHot(key) { // it was read ahead, and need not be unpacked again
		if value, ok := r.e.hot.get(key, r.at); ok {
			return value, nil
		}
	}
	if value, ok := p.get(key, r.at); ok {
		return value, nil
	}
	if value, err = r.lookUp(key); err == nil && !r.passing && p.wanted(key) {
		p.keep(key, value, r.at)
	}
	return value, err
}

// lookUp is Get of what is not kept packed.
func (r *badgerReader) lookUp(key []byte) (value []byte, err error) {
	if !isHot(key) {
		return r.find(key)
	}
	if value, ok := r.e.hot.get(key, r.at); ok {
		return value, nil
	}
	if value, err = r.find(key); err == nil {
		r.e.hot.keep(key, value, r.at)
	}
	return value, err
}

// ahead reads a row that the next Update is about to ask for.
func (r *badgerReader) ahead(key []byte) {
	if value, err := r.Get(key); err == nil && isHot(key) {
		r.e.hot.keep(key, value, r.at)
	}
}

// pass is for [Tx.Pass].
func (r *badgerReader) pass() { r.passing = true }

// Scan implements [Reader].
func (r *badgerReader) Scan(span Range) iter.Seq2[Item, error] {
	p, of := r.e.packed.Load(), listOf(span)
	if p == nil || of == nil {
		return r.scan(span)
	}
	return func(yield func(Item, error) bool) {
		if list, ok := p.get(of, r.at); ok {
			scanListed(list, of, span, yield)
		} else if r.passing || !p.wanted(of) {
			r.scan(span)(yield)
		} else {
			p.scanAndKeep(r, of, span, yield)
		}
	}
}
