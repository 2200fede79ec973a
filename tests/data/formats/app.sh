#!/bin/sh
# FILE://secret
BARE=FILE://secret
WRAPPED=a{{ FILE://secret }}z
SINGLE='FILE://secret'
DOUBLE="FILE://secret"
REST="${HOME:-none} it's"
export BARE WRAPPED SINGLE DOUBLE REST
ARGUMENT=$(printf '%s.' "FILE://secret")
export ARGUMENT
set -- FILE://secret
FIRST=$1
export FIRST
