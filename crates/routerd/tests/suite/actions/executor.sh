#!/bin/sh
# An executor with a cloud of its own: a file in $CLOUD_DIR stands for a fact that is true.
# `$CLOUD_DIR/fault` names how the next run goes wrong: MODE:FAULT.
read -r request
field() { printf '%s' "$request" | sed -n "s/.*\"$1\":\"\\($2\\)\".*/\\1/p"; }
kind=$(field kind '[A-Za-z]*Request')
if [ "$kind" = PreflightRequest ]; then
    echo '{"kind":"PreflightResult","status":{"identity":"lab","nic":"nic","checks":[{"name":"identity","status":"pass","detail":"known"}]}}'
    exit 0
fi
action=$(field action '[a-z-]*')
mode=$(field mode 'observe\|dry-run\|execute\|rollback')
nic=$(field nicRef '[^"]*')
case $action in
    ensure-forwarding-enabled) fact=ipForwarding ;;
    *) fact=assigned ;;
esac
file=$CLOUD_DIR/$fact-$(basename "$nic")
is() { [ -e "$file" ] && echo true || echo false; }
fault=
if [ -e "$CLOUD_DIR/fault-$(basename "$nic")" ]; then
    read -r fault < "$CLOUD_DIR/fault-$(basename "$nic")"
fi
# A fault of this mode, once.
strikes() {
    [ "$fault" = "$mode:$1" ] || return 1
    rm "$CLOUD_DIR/fault-$(basename "$nic")"
}
# Stands still until it is killed, and says so.
hang() { : > "$CLOUD_DIR/hangs-$(basename "$nic")"; while :; do sleep 60; done; }
echo "$mode $action $(basename "$nic")" >> "$CLOUD_DIR/log"
before=$(is)
strikes hang-before && hang
# Process 1 of a namespace cannot kill itself; that is done from outside.
strikes exit-before && exit 1
strikes garble && { echo 'not json'; exit 0; }
if strikes refuse; then
    echo '{"kind":"ExecuteActionResult","status":{"status":"failed","message":"may not","error":{"class":"authorization","detail":"AuthorizationFailed","permission":"Microsoft.Network/networkInterfaces/write","scope":"/nics/x","hint":"assign a role"}}}'
    exit 0
fi
case $mode in
    execute) : > "$file" ;;
    rollback) case $request in
        *prior*:\"true\"*) : > "$file" ;;
        *) rm -f "$file" ;;
    esac ;;
esac
strikes hang-after && hang
strikes silent-after && exit 0
strikes exit-after && { echo "lost my head" >&2; exit 3; }
now=$(is)
[ "$now" = true ] && effect=present || effect=absent
[ "$before" = "$now" ] && changed=false || changed=true
[ "$mode" = dry-run ] && [ "$now" = false ] && changed=true
echo "{\"kind\":\"ExecuteActionResult\",\"status\":{\"status\":\"succeeded\",\"changed\":$changed,\"message\":\"$mode: $fact=$now\",\"effect\":\"$effect\",\"observed\":{\"$fact\":\"$now\"},\"undoAvailable\":true}}"
