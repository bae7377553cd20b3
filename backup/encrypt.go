package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// ageIntro is what an encrypted backup begins with.
const ageIntro = "age-encryption.org/v1"

// ParseRecipient reads a public key of age: age1... or, safe against quantum computers, age1pq1...
func ParseRecipient(s string) (age.Recipient, error) {
	var r age.Recipient
	var err error
	if strings.HasPrefix(s, "age1pq1") {
		r, err = age.ParseHybridRecipient(s)
	} else {
		r, err = age.ParseX25519Recipient(s)
	}
	if err != nil {
		// It is not repeated, because it may be the secret key.
		return nil, errors.New("the recipient is no public key of age; age-keygen makes a key and prints the public one, which begins with age1")
	}
	return r, nil
}

// ParseIdentities reads the secret keys of a file that age-keygen has made.
func ParseIdentities(r io.Reader) ([]age.Identity, error) {
	l, err := age.ParseIdentities(r)
	if err != nil {
		return nil, errors.New("it is no file of secret keys of age, as age-keygen makes them") // the cause quotes what may be a secret
	}
	return l, nil
}

// throwaway returns a key that stands beside the recipient's for as long as it takes to verify what was written: who writes
// backups cannot read them, and an unread backup is a hope. It is in no file.
func throwaway(beside age.Recipient) (age.Recipient, age.Identity, error) {
	if _, pq := beside.(*age.HybridRecipient); pq { // age does not mix the two sorts
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, nil, err
		}
		return id.Recipient(), id, nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, nil, err
	}
	return id.Recipient(), id, nil
}

// KeyError says that a backup is encrypted, and none of the given keys is right.
type KeyError struct {
	File  string
	Given bool // any key
}

func (e *KeyError) Error() string {
	if e.Given {
		return fmt.Sprintf("the backup %s is encrypted to another key than those in the file of --identity", e.File)
	}
	return fmt.Sprintf("the backup %s is encrypted; name the file of the secret key with --identity", e.File)
}

// decrypt returns what is in a backup, which may be encrypted.
func decrypt(r io.Reader, name string, ids []age.Identity) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	intro, err := b.Peek(len(ageIntro))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, &CorruptError{name, err}
	}
	if !bytes.Equal(intro, []byte(ageIntro)) {
		return b, nil
	}
	if len(ids) == 0 {
		return nil, &KeyError{File: name}
	}
	plain, err := age.Decrypt(b, ids...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, &KeyError{File: name, Given: true}
	}
	if err != nil {
		return nil, &CorruptError{name, err}
	}
	return plain, nil
}
