#!/bin/sh
# Answers gpg-agent's questions in a person's place: it types the PIN that is in a file, writes down what it was
# asked, and cancels everything else, such as the wish for another card. It speaks the Assuan protocol.
folder=@FOLDER@
asked=
echo 'OK Your questions, please'
while read -r command argument; do
  case $command in
    SETDESC | SETPROMPT | SETERROR)
      asked="$asked $argument"
      echo OK
      ;;
    GETPIN)
      echo "PIN$asked" >>"$folder/asked"
      file=pin
      case $asked in *Admin*) file=admin-pin ;; esac
      echo "D $(cat "$folder/$file")"
      echo OK
      asked=
      ;;
    CONFIRM | MESSAGE)
      echo "CONFIRM$asked" >>"$folder/asked"
      echo 'ERR 83886179 Operation cancelled <Pinentry>'
      asked=
      ;;
    BYE)
      echo OK
      exit
      ;;
    *) echo OK ;;
  esac
done
