"""What ``mesh doctor`` looks at; each check returns findings and changes nothing."""
